//! Programs that `cargo install` builds, each in a tested version, and those of the Python package index.

use anyhow::{Context, Result};
use pxe_kit::{command, kustomize, python};

use super::packages::Group;

/// A program from crates.io.
struct Tool {
    /// The name of the crate and of the program.
    name: &'static str,
    version: &'static str,
    group: Group,
}

const TOOLS: &[Tool] = &[
    // Checks licences, sources and advisories of dependencies. `deny.toml` was written for this version.
    Tool { name: "cargo-deny", version: "0.20.2", group: Group::Tests },
    // Makes the Debian package from a table in `pxe-user/pxed/Cargo.toml`.
    Tool { name: "cargo-deb", version: "3.8.0", group: Group::Package },
    // Makes the RPM package from another table there.
    Tool { name: "cargo-generate-rpm", version: "0.21.1", group: Group::Package },
    // Writes the SBOM in OWASP's format.
    Tool { name: "cargo-cyclonedx", version: "0.5.9", group: Group::Package },
];

/// Builds the missing programs of a group. Each takes at most two minutes. The tests also use Python packages from the cache.
///
/// # Errors
/// If a build fails. The error contains the command to run by hand.
pub(super) fn ensure(group: Group) -> Result<()> {
    let missing = |tool: &&Tool| tool.group == group && command::find(tool.name).is_none();
    for Tool { name, version, .. } in TOOLS.iter().filter(missing) {
        println!("setup: cargo builds {name} {version}");
        // Not optimised: the build takes half the time, and the programs still run only seconds.
        let arguments = ["install", "--quiet", "--debug", "--locked", name, "--version", version];
        command::run(command::cargo().args(arguments))
            .with_context(|| format!("{name} was not built. Run: cargo {}", arguments.join(" ")))?;
    }
    if group == Group::Tests {
        python::fetch()?;
        kustomize::fetch()?;
    }
    Ok(())
}
