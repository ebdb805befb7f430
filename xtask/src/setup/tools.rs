//! Programs that cargo itself builds and installs, each in the version that was tried.

use anyhow::{Context, Result};
use pxe_kit::command;

use super::packages::Group;

/// A program from the registry of crates.
struct Tool {
    /// The crate, which is called as the program is.
    name: &'static str,
    version: &'static str,
    group: Group,
}

const TOOLS: &[Tool] = &[
    // Licences, sources and advisories of what we depend on: `deny.toml` was written for this version.
    Tool { name: "cargo-deny", version: "0.20.2", group: Group::Tests },
    // The Debian package, by `pxe-user/pxed/Cargo.toml`.
    Tool { name: "cargo-deb", version: "3.8.0", group: Group::Package },
    // The RPM package, by another table there.
    Tool { name: "cargo-generate-rpm", version: "0.21.1", group: Group::Package },
    // The list of what is built into it (SBOM), in OWASP's format.
    Tool { name: "cargo-cyclonedx", version: "0.5.9", group: Group::Package },
];

/// Builds those of a group that are not there: two minutes each at most, once.
///
/// # Errors
/// When a build fails; with the command to run by hand.
pub(super) fn ensure(group: Group) -> Result<()> {
    let missing = |tool: &&Tool| tool.group == group && command::find(tool.name).is_none();
    for Tool { name, version, .. } in TOOLS.iter().filter(missing) {
        println!("setup: cargo builds {name} {version}");
        // Unoptimised: they build in half the time, and do their work in seconds all the same.
        let arguments = ["install", "--quiet", "--debug", "--locked", name, "--version", version];
        command::run(command::cargo().args(arguments))
            .with_context(|| format!("{name} was not built. Run: cargo {}", arguments.join(" ")))?;
    }
    Ok(())
}
