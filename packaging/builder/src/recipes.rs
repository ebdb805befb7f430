//! Tests of the recipes in packaging/, as far as possible without the tools of other systems: scripts parse, files
//! exist, all systems get the same files, and workflows name actions by their hashes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pxe_kit::command;
use serde_json::Value;

fn read(path: &str) -> String {
    let path = command::workspace().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files in a folder of packaging/.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = command::workspace().join("packaging").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A table for a packaging tool in pxed's manifest.
fn table(name: &str) -> Value {
    let mut cargo = command::cargo();
    let metadata = command::output(cargo.args(["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().find(|package| package["name"] == "pxed").unwrap()["metadata"][name].clone()
}

/// Source and destination of each asset, without a leading slash.
fn assets(table: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().trim_start_matches('/').to_owned();
    let pair = |asset: &Value| match asset.as_array() {
        Some(asset) => (text(&asset[0]), text(&asset[1])),
        None => (text(&asset["source"]), text(&asset["dest"])),
    };
    table["assets"].as_array().unwrap().iter().map(pair).collect()
}

#[test]
fn shells_accept_the_scripts() {
    let is_script = |path: &PathBuf| ["postinst", "prerm", "postrm"].iter().any(|name| path.ends_with(name));
    let debian = files("debian").into_iter().filter(is_script);
    let scripts = files("rpm").into_iter().chain(debian).map(|path| ("sh", path));
    for (shell, path) in scripts.chain([("bash", command::workspace().join("packaging/arch/PKGBUILD"))]) {
        command::output(Command::new(shell).arg("-n").arg(&path)).unwrap();
    }
}

/// The files in the tables exist. The packaging tools would find a missing one only at a release.
#[test]
fn what_packages_are_made_of_is_there() {
    for name in ["deb", "generate-rpm"] {
        for (source, _) in assets(&table(name)) {
            // `write_assets` or cargo makes these.
            if source.contains("target/") {
                continue;
            }
            let path = command::workspace().join("pxe-user/pxed").join(&source);
            let (folder, last) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
            let (start, end) = last.split_once('*').unwrap_or((last, ""));
            let fits = |name: &str| name.starts_with(start) && name.ends_with(end);
            let mut names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            assert!(names.any(|name| fits(name.to_str().unwrap())), "{name}: no {source}");
        }
    }
}

/// Except zsh's folder, and the files for licences and services, which differ between systems.
#[test]
fn both_packages_have_the_same_files() {
    let own = [
        "usr/lib/",
        "usr/share/licenses/",
        "usr/share/doc/pxed/copyright",
        "usr/share/zsh/",
        "usr/share/lintian/",
    ];
    let installed = |name: &str| -> BTreeSet<(String, String)> {
        let assets = assets(&table(name)).into_iter();
        let full = assets.map(|(source, to)| {
            let name = Path::new(&source).file_name().unwrap().to_str().unwrap().to_owned();
            if to.ends_with('/') { (source, to + &name) } else { (source, to) }
        });
        full.filter(|(_, to)| !own.iter().any(|prefix| to.starts_with(prefix))).collect()
    };
    assert_eq!(installed("deb"), installed("generate-rpm"));
}

/// The recipes install the files in the tables by hand.
#[test]
fn recipes_install_what_packages_have() {
    let version = env!("CARGO_PKG_VERSION");
    let recipes = [
        ("packaging/arch/PKGBUILD", format!("\npkgver={version}\n")),
        ("packaging/nix/flake.nix", format!(" version = \"{version}\";\n")),
    ];
    for (path, version) in recipes {
        let text = read(path);
        assert!(text.contains(&version), "{path} has another version");
        for word in [
            "bash",
            "zsh",
            "fish",
            "pxed man ",
            "pxed.service",
            "pxed@.service",
            "pxed.schema.json",
            "docs monitoring",
            "LICENSE",
        ] {
            assert!(text.contains(word), "{path} does not install {word}");
        }
        let words = text.split(|c: char| c.is_whitespace() || "\"'".contains(c));
        for word in words.filter(|word| word.starts_with("packaging/") || word.starts_with("docs/")) {
            let is_there = command::workspace().join(word).exists();
            // The tarball in the recipe's head comment is made by hand.
            assert!(is_there || word.ends_with(".gz") || word.contains('='), "{path}: no {word}");
        }
    }
}

/// Workflows name actions by hash, because a tag can be moved, and have few permissions.
#[test]
fn workflows_are_pinned_and_may_do_little() {
    for path in files("forge") {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.display();
        assert!(!text.contains('\t') && text.lines().all(|line| line.trim_end() == line), "{shown}: spaces");
        assert!(text.lines().any(|line| line.starts_with("permissions:")), "{shown}: no permissions");
        assert!(!text.contains("write-all"), "{shown}");
        for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("- uses: ")) {
            let (action, version) = line.split_once(" # v").unwrap_or_else(|| panic!("{shown}: {line}"));
            let hash = action.split_once('@').map_or("", |(_, hash)| hash);
            assert!(hash.len() == 40 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{shown}: {line}");
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{shown}: {line}");
        }
        // A job with write permission must not run code of the repository.
        let writes = text.split("\n\n").find(|part| part.contains(": write"));
        assert!(writes.is_none_or(|job| !job.contains("checkout") && !job.contains("cargo")), "{shown}");
    }
}

#[test]
fn containers_have_known_instructions_and_name_themselves() {
    const KNOWN: [&str; 9] = ["ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR"];
    let tries = files("try");
    assert_eq!(tries.len(), 4);
    for path in tries.iter().chain([&command::workspace().join("packaging/Containerfile")]) {
        let text = fs::read_to_string(path).unwrap();
        let mut goes_on = false;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let word = line.split(' ').next().unwrap_or_default();
            assert!(goes_on || line.is_empty() || KNOWN.contains(&word), "{}: {line}", path.display());
            goes_on = line.ends_with('\\');
        }
        assert!(!goes_on && text.contains("\nFROM "), "{}", path.display());
        // The commands of the head comment name the file itself.
        let name = path.strip_prefix(command::workspace()).unwrap();
        assert!(text.contains(&format!("--file {}", name.display())), "{}", path.display());
    }
}
