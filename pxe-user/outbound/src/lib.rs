//! What a connection to another host needs from this one: its addresses, the authorities of its certificate, and secrets.
//! All of it is read before the confinement, because afterwards pxed can neither read these files nor resolve a name.
//!
//! The ledger and the images' sources use it. The crate opens no connection.

use std::fs;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where distributions keep the certificates of the authorities that they trust: Debian and Arch, Fedora, openSUSE.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// Why TLS cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The authorities' certificates cannot be read.
    #[error(
        "cannot read the certificates of authorities ({0}): name a file with the authority of the server as `ca_file`"
    )]
    Authorities(String),
    /// rustls rejects its settings.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// A host's name does not resolve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot find the address of {host} ({reason}): correct the URL, or start pxed again when the name resolves. pxed looks names \
     up at its start only"
)]
pub struct NameError {
    /// The host.
    pub host: String,
    /// The resolver's reason.
    pub reason: String,
}

/// A file with a secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {what} from {}: {reason}", .path.display())]
pub struct SecretError {
    /// What the file has.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The system's reason, with the remedy.
    pub reason: String,
}

/// TLS by ring that accepts certificates of the authorities in a file, or of those of the system.
///
/// # Errors
/// If there are no authorities, or rustls rejects its settings.
pub fn verified(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = authorities(ca).map_err(TlsError::Authorities)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TlsError::Tls(error.to_string()))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Reads the authorities of a file, or of the system. Certificates that rustls cannot use are left out, if others are left.
fn authorities(file: Option<&Path>) -> Result<RootCertStore, String> {
    let file = match file {
        Some(file) => file,
        None => SYSTEM.iter().map(Path::new).find(|path| path.exists()).ok_or("this system has none")?,
    };
    let read = CertificateDer::pem_file_iter(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(format!("{} contains no certificate in PEM", file.display()));
    }
    Ok(roots)
}

/// The addresses of a host, each once. A resolver that does not answer can take as long as `resolv.conf` allows.
///
/// # Errors
/// If the name does not resolve.
pub fn resolve(host: &str, port: u16) -> Result<Vec<IpAddr>, NameError> {
    let failed = |reason: String| NameError { host: host.to_owned(), reason };
    let found = (host, port).to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    let mut addresses = Vec::new();
    for address in found.map(|address| address.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(failed("the name has no address".into())) } else { Ok(addresses) }
}

/// The first `lines` lines of a file with a secret, none of them empty. `what` is its name in the error.
///
/// # Errors
/// If the file cannot be read, or has fewer lines.
pub fn secret(what: &'static str, path: &Path, lines: usize) -> Result<Vec<String>, SecretError> {
    let failed = |reason| SecretError { what, path: path.to_owned(), reason };
    let text = fs::read_to_string(path)
        .map_err(|error| failed(format!("{error}. Name a file that root can read")))?;
    let found: Vec<String> = text.lines().take(lines).map(str::to_owned).collect();
    if found.len() < lines || found.iter().any(String::is_empty) {
        let lines = if lines == 1 { "one line".to_owned() } else { format!("{lines} lines") };
        return Err(failed(format!("it is too short. Write {what} into it, on {lines}")));
    }
    Ok(found)
}

/// The file of a systemd credential (`LoadCredential=NAME:FILE`), if the service has one of this name.
#[must_use]
pub fn credential(name: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY")?;
    Some(Path::new(&directory).join(name)).filter(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_all_of_its_lines_or_the_error_says_what_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let failed = || secret("the password", &path, 2).unwrap_err().to_string();
        assert!(failed().contains("Name a file"), "{}", failed());
        for short in ["", "one", "one\n\n", "\ntwo\n"] {
            fs::write(&path, short).unwrap();
            assert!(failed().contains("on 2 lines"), "{}", failed());
        }
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(secret("the password", &path, 2).unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, "nothing").unwrap();
        let error = verified(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("ca.pem contains no certificate") && error.contains("`ca_file`"), "{error}");
    }
}
