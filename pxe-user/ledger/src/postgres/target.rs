//! [`Target`]: everything that a connection needs from this host. It is made before the confinement, because afterwards
//! pxed can neither read these files nor resolve a name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pxe_outbound::{NameError, SecretError, TlsError, resolve, secret};
use tokio_postgres::Config;

use super::tls::Tls;
use super::url::{Protection, Server, Url};

/// The time limit for a TCP connection to one server.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long sent bytes may stay without an acknowledgement. Then the kernel ends the connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);

/// Why a database cannot be connected to. All of it needs a change on this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The password's file cannot be used.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// A host's name does not resolve.
    #[error(transparent)]
    Name(#[from] NameError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
            config.password(secret("the password", path, 1)?.concat());
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
            Protection::Plain => Tls::off(),
            Protection::Encrypted => Tls::unverified().map_err(|error| TlsError::Tls(error.to_string()))?,
            Protection::Verified => Tls::verified(pxe_outbound::verified(ca)?),
        };
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
