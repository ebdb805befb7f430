//! [`Url`]: where a ledger is, as the configuration names it. It is parsed without a look at the network or a file.
//!
//! tokio-postgres parses the URL. pxed itself reads two parts: `sslmode`, of which tokio-postgres knows other values, and
//! the hosts, because names must be resolved before the confinement.

use std::fmt;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// A server of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// A host's name or address, and a TCP port.
    Tcp(String, u16),
    /// The directory of a Unix socket, and the port in the socket's name.
    Unix(PathBuf, u16),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(directory, port) => write!(f, "{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}

/// How the connection is protected (`sslmode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// TLS. The certificate must be valid and name the host (`verify-full`).
    Verified,
    /// TLS with any certificate (`require`): whoever is between both can read and change everything.
    Encrypted,
    /// No TLS (`disable`). The default for Unix sockets.
    Plain,
}

/// Why a URL is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has another scheme.
    #[error("is no URL of a database: it begins with postgres://, such as postgres://pxed@db.example/pxed")]
    Scheme,
    /// It contains a password, and every user of the host can read the configuration.
    #[error(
        "contains a password, which every user can read here: move it to a file, and name that file with `password_file`"
    )]
    Password,
    /// The value of `sslmode` is unknown.
    #[error("sslmode={0} is unknown: it is verify-full (the default), require (any certificate), or disable")]
    SslMode(String),
    /// It names no host and no directory of a socket.
    #[error("names no host: write postgres://USER@HOST/DATABASE, or ?host=DIRECTORY for a Unix socket")]
    NoHost,
    /// It names hosts and Unix sockets.
    #[error("names hosts and Unix sockets: name one kind only")]
    Mixed,
    /// It names no user.
    #[error("names no user: write postgres://USER@HOST/DATABASE")]
    NoUser,
    /// tokio-postgres rejects it.
    #[error("cannot be read: {0}")]
    Syntax(String),
}

/// The URL of a ledger. It contains no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Everything but hosts, ports and the password.
    pub(super) config: Config,
    /// The servers, in the order in which they are tried.
    pub(super) servers: Vec<Server>,
    pub(super) protection: Protection,
}

impl Url {
    /// Parses a URL.
    ///
    /// # Errors
    /// Why it is rejected. The error never contains a password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(UrlError::Scheme);
        }
        let (rest, mode) = without_sslmode(text);
        let parsed: Config = rest.parse().map_err(|error| UrlError::Syntax(sentence(&error)))?;
        if parsed.get_password().is_some() {
            return Err(UrlError::Password);
        }
        let user = parsed.get_user().filter(|user| !user.is_empty()).ok_or(UrlError::NoUser)?;
        let servers = servers(&parsed)?;
        let is_tcp = matches!(servers.first(), Some(Server::Tcp(..)));
        let protection = match mode.as_deref() {
            None if is_tcp => Protection::Verified,
            None | Some("disable") => Protection::Plain,
            Some("verify-full") => Protection::Verified,
            Some("require") => Protection::Encrypted,
            Some(other) => return Err(UrlError::SslMode(other.to_owned())),
        };
        let mut config = Config::new();
        config.user(user).dbname(parsed.get_dbname().filter(|name| !name.is_empty()).unwrap_or(user));
        config.target_session_attrs(TargetSessionAttrs::ReadWrite).application_name("pxed");
        config.ssl_mode(if protection == Protection::Plain { SslMode::Disable } else { SslMode::Require });
        if let Some(options) = parsed.get_options() {
            config.options(options);
        }
        Ok(Self { config, servers, protection })
    }

    /// The servers, in the order in which they are tried.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// How the connection is protected.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.protection
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(ToString::to_string).collect();
        let (user, name) = (self.config.get_user(), self.config.get_dbname());
        write!(f, "{} on {}", name.unwrap_or_default(), servers.join(", "))?;
        user.map_or(Ok(()), |user| write!(f, " as {user}"))
    }
}

/// The URL without `sslmode`, and the value of it.
fn without_sslmode(text: &str) -> (String, Option<String>) {
    let Some((start, query)) = text.split_once('?') else { return (text.to_owned(), None) };
    let mut mode = None;
    let kept: Vec<_> = query
        .split('&')
        .filter(|pair| match pair.strip_prefix("sslmode=") {
            Some(value) => {
                mode = Some(value.to_owned());
                false
            }
            None => true,
        })
        .collect();
    let rest = if kept.is_empty() { start.to_owned() } else { format!("{start}?{}", kept.join("&")) };
    (rest, mode)
}

fn servers(config: &Config) -> Result<Vec<Server>, UrlError> {
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
    let servers: Vec<_> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(at, host)| match host {
            Host::Tcp(name) => Server::Tcp(name.clone(), port(at)),
            Host::Unix(directory) => Server::Unix(directory.clone(), port(at)),
        })
        .collect();
    let tcp = servers.iter().filter(|server| matches!(server, Server::Tcp(..))).count();
    match (servers.len(), tcp) {
        (0, _) => Err(UrlError::NoHost),
        (all, tcp) if tcp != 0 && tcp != all => Err(UrlError::Mixed),
        _ => Ok(servers),
    }
}

/// An error of tokio-postgres with its causes.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_with_its_defaults() {
        for (text, shown, protection) in [
            ("postgres://pxed@db/lab", "lab on db:5432 as pxed", Protection::Verified),
            (
                "postgresql://pxed@10.0.0.1:6000?sslmode=require",
                "pxed on 10.0.0.1:6000 as pxed",
                Protection::Encrypted,
            ),
            (
                "postgres://u@a:1,[fe80::1]:2/d?sslmode=disable",
                "d on a:1, [fe80::1]:2 as u",
                Protection::Plain,
            ),
            (
                "postgres://u@/d?host=/run/postgresql",
                "d on /run/postgresql/.s.PGSQL.5432 as u",
                Protection::Plain,
            ),
            ("postgres://u@%2Ftmp:7/d", "d on /tmp/.s.PGSQL.7 as u", Protection::Plain),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.protection()), (shown, protection), "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_rejected_and_no_password_is_repeated() {
        for (text, words) in [
            ("mysql://u@h/d", "postgres://"),
            ("postgres://u:secret@h/d", "password_file"),
            ("postgres://u@h/d?password=secret", "password_file"),
            ("postgres://u@h/d?sslmode=verify-ca", "verify-full"),
            ("postgres://u@/d", "no host"),
            ("postgres://h/d", "no user"),
            ("postgres://u@h,%2Ftmp/d", "one kind"),
            ("postgres://u@h:port/d", "cannot be read"),
            ("postgres://u@h/d?speed=1", "cannot be read"),
        ] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
