//! Writes SBOMs, the lists of dependencies, in the format CycloneDX by OWASP's tool.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use pxe_kit::command;
use serde_json::Value;

/// The crates with a list, and the names of the lists. The program contains the kernel side, but cargo does not know it
/// as a dependency.
const LISTS: [(&str, &str); 2] = [("pxe-user/pxed", "pxed"), ("pxe-ebpf", "pxed-kernel-side")];
/// The temporary file name of each list.
const LIST: &str = "out-package-sbom";

/// Writes a list for the program and one for its kernel side.
pub(super) fn write(folder: &Path) -> Result<()> {
    let members = members()?;
    let times =
        members.iter().map(|member| fs::metadata(member)?.modified()).collect::<Result<Vec<_>, _>>()?;
    let listed = generate();
    let moved = listed.and_then(|()| LISTS.iter().try_for_each(|(member, name)| take(member, name, folder)));
    // The tool writes one into each member's folder.
    for (member, time) in members.iter().zip(times) {
        let list = member.join(format!("{LIST}.json"));
        if list.exists() {
            fs::remove_file(list)?;
        }
        // Otherwise cargo considers the crate changed, and rebuilds pxed.
        fs::File::open(member)?.set_modified(time)?;
    }
    moved
}

fn generate() -> Result<()> {
    let mut cargo = command::cargo();
    cargo.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--no-build-deps"]);
    command::output(cargo.args(["--override-filename", LIST])).map(drop)
}

/// The folders of the workspace's members.
fn members() -> Result<Vec<std::path::PathBuf>> {
    let mut cargo = command::cargo();
    let metadata = command::output(cargo.args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let manifests = metadata["packages"].as_array().into_iter().flatten();
    let folder = |package: &Value| Some(Path::new(package["manifest_path"].as_str()?).parent()?.to_owned());
    manifests.map(|package| folder(package).context("a member without a manifest")).collect()
}

/// Moves a member's list to the release's folder, without the path of this machine.
fn take(member: &str, name: &str, folder: &Path) -> Result<()> {
    let workspace = command::workspace();
    let list = workspace.join(member).join(format!("{LIST}.json"));
    let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let text = text.replace(workspace.to_str().context("the workspace's path is not UTF-8")?, "");
    let components = components(&text)?;
    ensure!(components > 0, "the list of {member} is empty");
    println!("package: {name}: {components} crates are built in");
    fs::write(folder.join(format!("{name}.cdx.json")), text)?;
    Ok(())
}

/// The number of components in a list.
fn components(text: &str) -> Result<usize> {
    let list: Value = serde_json::from_str(text)?;
    ensure!(list["bomFormat"] == "CycloneDX", "not a list in CycloneDX's format");
    Ok(list["components"].as_array().map_or(0, Vec::len))
}
