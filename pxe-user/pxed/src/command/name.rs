//! `pxed name`: names for machines, one by one or from a file.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::Args;

use super::options::{Socket, block_on, machine_path};
use pxe_proto::mac::Mac;
use pxe_web::api::client::{Client, ClientError};

/// Which machine gets which name.
#[derive(Clone, Debug, Args)]
pub(crate) struct Name {
    /// The machine's Ethernet address, or its present name
    #[arg(value_name = "MACHINE", required_unless_present = "file", conflicts_with = "file")]
    machine: Option<String>,
    /// Its new name: unique, 1 to 64 bytes; it can be given before the machine is seen
    #[arg(value_name = "NAME", required_unless_present_any = ["file", "remove"], conflicts_with_all = ["file", "remove"])]
    name: Option<String>,
    /// Take its name away
    #[arg(long, conflicts_with = "file", requires = "machine")]
    remove: bool,
    /// Read names from this file (`-` is standard input): a line for each machine, its Ethernet address and its name
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    socket: Socket,
}

/// A line of the file that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
struct LineError {
    line: usize,
    why: String,
}

impl Name {
    pub(super) fn run(&self) -> Result<()> {
        let client = self.socket.client();
        if let Some(path) = &self.file {
            let names = read(path)?;
            return block_on(async { all(&client, &names).await });
        }
        let machine = self.machine.as_deref().unwrap_or_default();
        block_on(async { give(&client, machine, self.name.as_deref()).await })
    }
}

/// Sends every name, and continues after a name that the daemon rejects. Stops only if no connection to the daemon is
/// possible.
async fn all(client: &Client, names: &[(Mac, String)]) -> Result<()> {
    let mut failed = 0;
    for (mac, name) in names {
        if let Err(error) = give(client, &mac.to_string(), Some(name)).await {
            if matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. })) {
                return Err(error);
            }
            failed += 1;
            let _ = writeln!(std::io::stderr(), "{mac} {name}: {error:#}");
        }
    }
    writeln!(std::io::stdout(), "{} machine(s) named", names.len() - failed)?;
    if failed > 0 { bail!("names that were not given: {failed}") } else { Ok(()) }
}

async fn give(client: &Client, machine: &str, name: Option<&str>) -> Result<()> {
    let body = Bytes::from(serde_json::json!({ "name": name }).to_string());
    client.put(&machine_path(machine, "name"), body).await?;
    Ok(())
}

fn read(path: &Path) -> Result<Vec<(Mac, String)>> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

/// Parses lines of `MAC NAME`; `#` begins a comment. A wrong line, or a name that appears twice, fails the whole file.
fn parse(text: &str) -> Result<Vec<(Mac, String)>, LineError> {
    let mut names: Vec<(Mac, String)> = Vec::new();
    let mut lines: HashMap<String, usize> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |why: String| LineError { line: index + 1, why };
        let (mac, name) = line
            .split_once([' ', '\t', ',', ';'])
            .ok_or_else(|| wrong("write an Ethernet address, a space, and a name".into()))?;
        let mac: Mac = mac.parse().map_err(|error| wrong(format!("{error}")))?;
        let name = name.trim();
        if let Some(other) = lines.insert(name.to_lowercase(), index + 1) {
            return Err(wrong(format!("the name {name} is in line {other} already")));
        }
        names.push((mac, name.to_owned()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_names_is_read_whole_or_not_at_all() {
        let names =
            parse("# rack 1\n52:54:00:00:00:01 rack1-01\n\n5254.0000.0002,rack1-02 # left\n").unwrap();
        let expected = [("52:54:00:00:00:01", "rack1-01"), ("52:54:00:00:00:02", "rack1-02")];
        assert_eq!(names, expected.map(|(mac, name)| (mac.parse().unwrap(), name.to_owned())));
        for (text, line, why) in [
            ("52:54:00:00:00:01\n", 1, "a space"),
            ("\n52:54 a\n", 2, "52:54"),
            ("52:54:00:00:00:01 a\n52:54:00:00:00:02 A\n", 2, "in line 1 already"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.line == line && error.why.contains(why), "{error}");
        }
    }
}
