//! `--kernel`: one Linux for every machine, without a configuration file. The options become the same image and rule as
//! this part of a configuration:
//!
//! ```text
//! [images.linux]
//! kernel = "linux/NAME"      # from wherever the file is
//!
//! [[rules]]
//! image = "linux"
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::config::{RuleAction, RuleSpec, Settings};
use pxe_content::boot::{FileName, ImageSpec, TemplateError, check_template};
use pxe_content::rules::{Matcher, RuleLimits};

/// The name of the image, and the folder under which machines load its files.
const NAME: &str = "linux";

/// Each file's name for machines, and its path below the host's root directory.
type Named = Vec<(FileName, String)>;

/// One Linux.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Linux {
    /// Boot this Linux kernel on every machine, from wherever it is; installed boot loaders start it
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    kernel: Option<PathBuf>,
    /// An initramfs for --kernel; may be repeated
    #[arg(long = "initrd", value_name = "FILE", requires = "kernel")]
    initrds: Vec<PathBuf>,
    /// The command line for --kernel; a template like `args` of an image in the configuration
    #[arg(long, value_name = "TEXT", requires = "kernel", allow_hyphen_values = true)]
    args: Option<String>,
}

/// Why `--kernel` cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinuxError {
    /// The system cannot open the file.
    #[error("cannot serve {}: {reason}. Name a file that this host can read", path.display())]
    File {
        /// The path as it was given.
        path: PathBuf,
        /// The system's error.
        reason: std::io::Error,
    },
    /// The path is a directory or a device.
    #[error("cannot serve {}: it is no regular file. Name the file of a kernel or an initramfs", .0.display())]
    NoFile(PathBuf),
    /// The path is not UTF-8.
    #[error("cannot serve {}: its path is not UTF-8. Rename it, or copy it elsewhere", .0.display())]
    Path(PathBuf),
    /// The template in `--args` is wrong.
    #[error("--args: {0}")]
    Args(#[from] TemplateError),
    /// The configuration already defines what machines boot.
    #[error(
        "--kernel boots one Linux on every machine, and the configuration has {0}: leave --kernel out and write [images.{NAME}] with \
         `kernel` into the file, or leave --config out"
    )]
    Configured(&'static str),
}

impl Linux {
    /// Replaces files, images and rules of the settings. Without `--kernel` it changes nothing.
    ///
    /// # Errors
    /// [`LinuxError`].
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), LinuxError> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        for (is_there, what) in [
            (!settings.rules.is_empty(), "rules"),
            (!settings.images.is_empty(), "images"),
            (settings.root.is_some(), "a `root`"),
            (!settings.boot_files.is_empty(), "`boot_files`"),
        ] {
            if is_there {
                return Err(LinuxError::Configured(what));
            }
        }
        let args = self.args.clone().unwrap_or_default();
        check_template(&args)?;
        let mut files = Named::new();
        let mut names = Vec::new();
        for path in std::iter::once(kernel).chain(&self.initrds) {
            let target = target(path)?;
            let (name, parsed) = named(&target, &files).ok_or_else(|| LinuxError::Path(path.clone()))?;
            let below = target.strip_prefix('/').unwrap_or(&target);
            files.push((parsed, below.to_owned()));
            names.push(name);
        }
        let mut names = names.into_iter();
        settings.kernel_files = files;
        settings.sources.clear();
        settings.images = vec![ImageSpec {
            name: NAME.into(),
            kernel: names.next(),
            initrd: names.collect(),
            args,
            ..ImageSpec::default()
        }];
        settings.rules = vec![rule()];
        Ok(())
    }
}

/// The rule that matches every machine.
fn rule() -> RuleSpec {
    RuleSpec {
        name: Arc::from("--kernel"),
        line: 0,
        matcher: Matcher::default(),
        outcome: RuleAction::Image(NAME.into()),
        style: None,
        boot_server: None,
        boots: None,
        limits: RuleLimits::default(),
    }
}

/// Resolves the links of a path. The administrator named this path on the command line, so its links are followed
/// whoever owns them.
fn target(path: &Path) -> Result<String, LinuxError> {
    let failed = |reason| LinuxError::File { path: path.to_owned(), reason };
    let target = path.canonicalize().map_err(failed)?;
    if !target.metadata().map_err(failed)?.is_file() {
        return Err(LinuxError::NoFile(path.to_owned()));
    }
    target.into_os_string().into_string().map_err(|_| LinuxError::Path(path.to_owned()))
}

/// A name that no other file has. The last component must differ, because boot loaders distinguish initramfs files by
/// it alone. Returns the name as text and parsed.
fn named(target: &str, files: &[(FileName, String)]) -> Option<(String, FileName)> {
    let base = target.rsplit('/').next().unwrap_or_default();
    // A space or another special character could end the name in a boot loader's script.
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-+".contains(c) { c } else { '-' };
    let base: String = base.chars().map(plain).take(64).collect();
    let names = (1..).map(|number| match number {
        1 => format!("{NAME}/{base}"),
        number => format!("{NAME}/{number}-{base}"),
    });
    names
        .filter_map(|name| Some((name.parse::<FileName>().ok()?, name)))
        .map(|(parsed, name)| (name, parsed))
        .take(files.len() + 1)
        .find(|(_, parsed)| files.iter().all(|(known, _)| known != parsed))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::command::options::Files;
    use crate::config::Config;
    use pxe_content::boot::Catalogue;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        files: Files,
    }

    fn files(arguments: &[&str]) -> Result<Files, clap::Error> {
        Line::try_parse_from(std::iter::once(&"x").chain(arguments)).map(|line| line.files)
    }

    #[test]
    fn a_kernel_and_its_files_from_anywhere_are_an_image_for_every_machine() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for folder in ["a", "b"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(path("a/vmlinuz 6"), b"kernel").unwrap();
        std::fs::write(path("a/initrd.img"), b"one").unwrap();
        std::fs::write(path("b/initrd.img"), b"two").unwrap();
        std::os::unix::fs::symlink(path("a/vmlinuz 6"), path("link")).unwrap();
        let files = files(&[
            "--kernel",
            &path("link"),
            "--initrd",
            &path("a/initrd.img"),
            "--initrd",
            &path("b/initrd.img"),
            "--args",
            "quiet mac={{ mac }}",
        ])
        .unwrap();
        let mut settings = Settings::new(files.layer());
        files.linux().apply(&mut settings).unwrap();
        let [image_spec] = settings.images.as_slice() else { panic!("{settings:?}") };
        assert_eq!(image_spec.kernel.as_deref(), Some("linux/vmlinuz-6"));
        assert_eq!(image_spec.initrd, ["linux/initrd.img", "linux/2-initrd.img"]);
        let [rule] = settings.rules.as_slice() else { panic!("{settings:?}") };
        assert_eq!((&rule.outcome, &rule.matcher), (&RuleAction::Image(NAME.into()), &Matcher::default()));
        let catalogue = Catalogue::open(settings.files()).unwrap();
        for (name, content) in
            [("linux/vmlinuz-6", "kernel"), ("linux/initrd.img", "one"), ("linux/2-initrd.img", "two")]
        {
            let image = catalogue.load(&name.parse().unwrap()).unwrap();
            assert_eq!(image.len(), content.len() as u64, "{name}");
        }
        let other = "linux/../a/initrd.img".parse().or("a/initrd.img".parse::<FileName>());
        assert!(catalogue.load(&other.unwrap()).is_err(), "only what is named is served");
        let missing = catalogue.missing().join("\n");
        assert!(!missing.contains("vmlinuz") && !missing.contains("initrd"), "{missing}");
    }

    #[test]
    fn what_is_in_the_way_is_said_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("linux");
        std::fs::write(&kernel, b"kernel").unwrap();
        let kernel = kernel.to_str().unwrap();
        let error = |arguments: &[&str], config: &str| {
            let file = Config::parse(config).0.unwrap();
            let files = files(arguments).unwrap();
            let mut settings = Settings::new(files.layer().over(file.settings));
            files.linux().apply(&mut settings).unwrap_err().to_string()
        };
        for (arguments, config, part) in [
            (&["--kernel", "/none"][..], "", "No such file"),
            (&["--kernel", "/"], "", "no regular file"),
            (&["--kernel", kernel, "--initrd", "/none"], "", "/none"),
            (&["--kernel", kernel, "--args", "{{ nothing }}"], "", "--args"),
            (&["--kernel", kernel], "[images.x]\n[[rules]]\nimage = \"x\"", "has rules"),
            (&["--kernel", kernel], "[images.x]", "has images"),
            (&["--kernel", kernel], "root = \"/srv\"", "leave --config out"),
        ] {
            let error = error(arguments, config);
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
        for arguments in [
            &["--kernel", kernel, "--root", "/srv"][..],
            &["--kernel", kernel, "--boot-file", "x64=x"],
            &["--initrd", kernel],
            &["--args", "x"],
        ] {
            assert!(files(arguments).is_err(), "{arguments:?}");
        }
    }
}
