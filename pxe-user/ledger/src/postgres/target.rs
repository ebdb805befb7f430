//! [`Target`]: everything that a connection needs from this host. It is made before the confinement, because afterwards
//! pxed can neither read these files nor resolve a name.

use std::fs;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;

use super::tls::{self, Tls};
use super::url::{Protection, Server, Url};

/// The time limit for a TCP connection to one server.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long sent bytes may stay without an acknowledgement. Then the kernel ends the connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// Why a database cannot be connected to. All of it needs a change on this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The password's file cannot be read.
    #[error("cannot read the password from {}: {reason}. Name a file that root can read", .path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The password's file is empty.
    #[error("{} is empty: write the password into it, on one line", .0.display())]
    NoPassword(PathBuf),
    /// The authorities' certificates cannot be read.
    #[error(
        "cannot read the certificates of authorities ({0}): name a file with the authority of the database as `ca_file`"
    )]
    Authorities(String),
    /// A host's name does not resolve.
    #[error(
        "cannot find the address of {host} ({reason}): correct the URL, or start pxed again when the name resolves. pxed looks \
         names up at its start only"
    )]
    Name {
        /// The host.
        host: String,
        /// The resolver's reason.
        reason: String,
    },
    /// rustls rejects its settings.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// A database, ready to connect to. Its `Debug` shows no password.
#[derive(Clone, Debug)]
pub struct Target {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// The URL, for messages.
    pub(super) url: Url,
    ports: Vec<u16>,
    directories: Vec<PathBuf>,
}

impl Target {
    /// Reads the files, and resolves the names. A resolver that does not answer can take as long as `resolv.conf` allows.
    ///
    /// # Errors
    /// What prevents a connection.
    pub fn open(url: &Url, password: Option<&Path>, ca: Option<&Path>) -> Result<Self, TargetError> {
        let mut config = url.config.clone();
        config.connect_timeout(CONNECT_MAX).tcp_user_timeout(UNACKNOWLEDGED_MAX);
        config.keepalives_idle(Duration::from_secs(10)).keepalives_interval(Duration::from_secs(2));
        if let Some(path) = password {
            config.password(read_password(path)?);
        }
        let (mut ports, mut directories) = (Vec::new(), Vec::new());
        for server in &url.servers {
            match server {
                Server::Tcp(host, port) => {
                    for address in resolve(host, *port)? {
                        config.host(host).hostaddr(address).port(*port);
                    }
                    ports.push(*port);
                }
                Server::Unix(directory, port) => {
                    config.host_path(directory).port(*port);
                    directories.push(directory.clone());
                }
            }
        }
        let tls = match url.protection {
            Protection::Plain => Ok(Tls::off()),
            Protection::Encrypted => Tls::unverified(),
            Protection::Verified => Tls::verified(tls::authorities(ca).map_err(TargetError::Authorities)?),
        };
        let tls = tls.map_err(|error| TargetError::Tls(error.to_string()))?;
        Ok(Self { config, tls, url: url.clone(), ports, directories })
    }

    /// The TCP ports of the servers.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The directories of the servers' Unix sockets.
    #[must_use]
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }
}

fn read_password(path: &Path) -> Result<String, TargetError> {
    let text = fs::read_to_string(path)
        .map_err(|error| TargetError::Password { path: path.to_owned(), reason: error.to_string() })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { Err(TargetError::NoPassword(path.to_owned())) } else { Ok(line.to_owned()) }
}

fn resolve(host: &str, port: u16) -> Result<Vec<IpAddr>, TargetError> {
    let failed = |reason: String| TargetError::Name { host: host.to_owned(), reason };
    let found = (host, port).to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    let mut addresses = Vec::new();
    for address in found.map(|address| address.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(failed("the name has no address".into())) } else { Ok(addresses) }
}
