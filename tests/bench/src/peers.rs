//! What a user would take instead, fetched once and kept in the user's cache: Debian's packages, unpacked and not
//! installed (installing would start a server on this host), and a crate built by cargo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cable::BESIDE_ADDRESS;
use anyhow::{Context, Result, ensure};
use pxe_kit::apt::{Apt, Archive, Source};
use pxe_kit::arch::Arch;
use pxe_kit::command;

/// What the cache holds changes with this number.
const CACHE_FORMAT: &str = "1";
/// Debian 12: its programs run with the C library of every distribution since (2.34 or later).
const SUITE: Source = Source { archive: Archive::Main, suite: "bookworm" };
/// The crate's version that is measured.
const TFTPD: &str = "1.0.0";

/// nginx for many connections that load files: <https://nginx.org/en/docs/>.
const NGINX: &str = "daemon off;
user nobody nogroup;
worker_processes 1;
pid nginx.pid;
events { worker_connections 16384; }
http {
    access_log access.log combined buffer=64k;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=1000 inactive=60s;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server { listen ADDRESS:80 backlog=4096; root ROOT; }
}
";

/// A program that is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Debian's tftpd-hpa: one process per transfer.
    TftpdHpa,
    /// Debian's atftpd: one thread per transfer.
    Atftpd,
    /// The crate tftpd: one thread per transfer.
    TftpdRs,
    /// Debian's nginx, for HTTP.
    Nginx,
    /// Debian's Caddy, for HTTP.
    Caddy,
}

impl Peer {
    pub(super) const ALL: [Self; 5] = [Self::TftpdHpa, Self::Atftpd, Self::TftpdRs, Self::Nginx, Self::Caddy];

    /// Debian's package, if it is one. Each has a tree of its own: both have a `/usr/sbin/in.tftpd`.
    fn package(self) -> Option<&'static str> {
        match self {
            Self::TftpdHpa => Some("tftpd-hpa"),
            Self::Atftpd => Some("atftpd"),
            Self::TftpdRs => None,
            Self::Nginx => Some("nginx"),
            Self::Caddy => Some("caddy"),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::TftpdHpa => "tftpd-hpa/usr/sbin/in.tftpd",
            Self::Atftpd => "atftpd/usr/sbin/atftpd",
            Self::TftpdRs => "bin/tftpd",
            Self::Nginx => "nginx/usr/sbin/nginx",
            Self::Caddy => "caddy/usr/bin/caddy",
        }
    }
}

/// Where they are, and what became of those that are not.
#[derive(Debug)]
pub struct Peers {
    folder: PathBuf,
    missing: Vec<(Peer, String)>,
}

impl Peers {
    /// Takes those that are wanted from the cache; fetches them before that. One that cannot be had is missing, and that is
    /// told.
    ///
    /// # Errors
    /// When there is no place for a cache.
    pub(super) fn fetch(wanted: &[Peer]) -> Result<Self> {
        let folder = command::cache_dir()?.join("peers").join(CACHE_FORMAT);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut peers = Self { folder, missing: Vec::new() };
        for &peer in wanted {
            if peers.path(peer).is_file() {
                continue;
            }
            println!("bench: fetching {peer:?}");
            let fetched = match peer.package() {
                Some(package) => unpack(package, &peers.folder),
                None => build(&peers.folder),
            };
            if let Err(error) = fetched {
                peers.missing.push((peer, format!("cannot be fetched: {error:#}")));
            }
        }
        Ok(peers)
    }

    /// None at all, for the short form.
    #[must_use]
    pub fn none() -> Self {
        let missing = Peer::ALL.map(|peer| (peer, "not fetched for the short form".to_owned())).into();
        Self { folder: PathBuf::new(), missing }
    }

    /// Why a peer is not there.
    pub(super) fn missing(&self, peer: Peer) -> Option<String> {
        self.missing.iter().find(|(other, _)| *other == peer).map(|(_, why)| why.clone())
    }

    fn path(&self, peer: Peer) -> PathBuf {
        self.folder.join(peer.program())
    }

    /// The command that serves `root` in the foreground, as the manual advises for many clients.
    pub(super) fn command(&self, peer: Peer, root: &Path) -> Command {
        let mut command = self.bare(peer);
        match peer {
            // in.tftpd(8): --foreground is standalone; it has no limit of transfers to raise, and --blocksize only
            // limits what clients ask for. windowsize is not among its options (tftp-hpa 5.2, "RFC 2347 OPTION
            // NEGOTIATION").
            Peer::TftpdHpa => {
                command.args(["--foreground", "--address", "10.50.0.1:69", "--secure"]).arg(root);
            }
            // atftpd(8): --maxthread "Maximum number of concurrent threads allowed. Default is 100." Not verbose: at
            // its default it logs nothing of a transfer.
            Peer::Atftpd => {
                command.args(["--daemon", "--no-fork", "--maxthread", "5000", "--bind-address", "10.50.0.1"]);
                command.args(["--user", "nobody.nogroup", "--logfile", "/dev/null"]).arg(root);
            }
            // Its --help: no limit of transfers to raise. Not --single-port: that sends all packets through one thread
            // and a channel per client; a port per transfer is its default.
            Peer::TftpdRs => {
                command.args(["--ip-address", "10.50.0.1", "--read-only", "--directory"]).arg(root);
            }
            // One worker, since it has one processor. Its manual: sendfile and open_file_cache for static files; the
            // log is written in blocks, as pxed's.
            Peer::Nginx => {
                let folder = root.with_file_name("nginx");
                command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "error.log"]);
            }
            // Its manual (file-server): a static file server without a Caddyfile, which uses sendfile. Its runtime takes as
            // many threads as there are processors. Without --access-log it logs no request; pxed and nginx do.
            Peer::Caddy => {
                let home = root.with_file_name("caddy");
                command.env("XDG_CONFIG_HOME", &home).env("XDG_DATA_HOME", &home);
                command
                    .args(["file-server", "--listen", &format!("{BESIDE_ADDRESS}:80"), "--root"])
                    .arg(root);
            }
        }
        command
    }

    /// Writes what a peer reads beside its command line, for one that serves `root`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn configure(root: &Path) -> Result<()> {
        let folder = root.with_file_name("nginx");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let text = NGINX.replace("ROOT", &root.display().to_string()).replace("ADDRESS", BESIDE_ADDRESS);
        Ok(fs::write(folder.join("nginx.conf"), text)?)
    }

    /// The program alone, with the libraries of its own release, but for the C library.
    fn bare(&self, peer: Peer) -> Command {
        let mut command = Command::new(self.path(peer));
        if let Some(tree) = peer.package() {
            let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
            let paths = libraries.map(|below| self.folder.join(tree).join(below).display().to_string());
            command.env("LD_LIBRARY_PATH", paths.join(":"));
        }
        command
    }

    /// What they say of their versions.
    pub(super) fn versions(&self) -> Vec<String> {
        let there = Peer::ALL.into_iter().filter(|peer| self.missing(*peer).is_none());
        there.filter_map(|peer| self.version(peer)).collect()
    }
}

impl Peers {
    fn version(&self, peer: Peer) -> Option<String> {
        match peer {
            Peer::Nginx => {}
            Peer::Caddy => return Some(format!("Caddy {}", first_line(self.bare(peer).arg("version"))?)),
            _ => return first_line(self.bare(peer).arg("-V")),
        }
        // It says that on standard error.
        let said = self.bare(peer).arg("-v").output().ok()?.stderr;
        String::from_utf8(said).ok()?.trim().rsplit_once(' ').map(|(_, version)| version.to_owned())
    }
}

/// The first line that a program prints.
pub(super) fn first_line(command: &mut Command) -> Option<String> {
    let said = command::output(command).ok()?;
    said.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Unpacks a package and the libraries that it needs.
fn unpack(package: &str, folder: &Path) -> Result<()> {
    let lists = folder.join("apt");
    let unfinished = folder.join("unfinished");
    for old in [&lists, &unfinished] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
        fs::create_dir_all(old)?;
    }
    Apt::new(&lists, Arch::Amd64, &[SUITE])?.unpack_with_libraries(&[package], &unfinished)?;
    let tree = folder.join(package);
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    fs::rename(&unfinished, &tree)?;
    fs::remove_dir_all(&lists)?;
    Ok(())
}

fn build(folder: &Path) -> Result<()> {
    let mut cargo = command::cargo();
    cargo.args(["install", "--quiet", "--locked", "tftpd", "--version", TFTPD, "--root"]).arg(folder);
    let said = cargo.env_remove("CARGO_TARGET_DIR").output().context("cannot start cargo")?;
    ensure!(said.status.success(), "cargo: {}", String::from_utf8_lossy(&said.stderr).trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_fetched_is_told() {
        let peers = Peers::none();
        assert!(Peer::ALL.into_iter().all(|peer| peers.missing(peer).is_some()));
        assert!(peers.versions().is_empty());
    }
}
