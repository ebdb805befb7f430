//! [`Target`]: everything that the sources need from this host. It is opened before the confinement, because afterwards pxed
//! can neither read these files nor resolve a name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use pxe_outbound::{NameError, SecretError, TlsError, credential, resolve, secret};
use tokio_rustls::rustls::ClientConfig;

use crate::dialer::{Connector, Dialer};
use crate::error::FetchError;
use crate::source::{Location, Server, Source};

/// The name of systemd's credential with the key of the S3 store (`LoadCredential=s3-credentials:FILE`).
const CREDENTIAL: &str = "s3-credentials";

/// The settings of all sources together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The authorities of the servers' certificates. `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// The S3 store of `s3://` sources.
    pub s3_endpoint: Option<Server>,
    /// Its region.
    pub s3_region: String,
    /// The file with the key's ID and the secret key, on two lines. `None` for systemd's credential, if there is one.
    pub s3_credentials_file: Option<PathBuf>,
}

/// The addresses, authorities and credentials of all sources. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Target {
    settings: Settings,
    servers: BTreeMap<Server, Result<Vec<IpAddr>, NameError>>,
    tls: Result<Arc<ClientConfig>, TlsError>,
    /// The key's ID and the secret key. `None`: requests are not signed.
    key: Result<Option<(String, String)>, SecretError>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Target {
    /// Reads the files, and resolves the names. A resolver that does not answer can take as long as `resolv.conf` allows. What
    /// does not work is a part of the result, because pxed serves everything else all the same.
    #[must_use]
    pub fn open(settings: Settings, sources: &[Source]) -> Self {
        let mut servers = BTreeMap::new();
        for server in sources.iter().filter_map(|source| server_of(&settings, source)) {
            servers.entry(server.clone()).or_insert_with(|| resolve(&server.host, server.port));
        }
        let is_s3 = sources.iter().any(|source| matches!(source.location, Location::S3 { .. }));
        let file = settings.s3_credentials_file.clone().or_else(|| credential(CREDENTIAL));
        let key = file.filter(|_| is_s3).map(|path| secret("the key's ID and the secret key", &path, 2));
        let key = key.transpose().map(|lines| {
            let mut lines = lines?.into_iter();
            Some((lines.next()?, lines.next()?))
        });
        Self { tls: pxe_outbound::verified(settings.ca_file.as_deref()), settings, servers, key }
    }

    /// The TCP ports of all servers.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.servers.keys().map(|server| server.port).collect()
    }

    /// Checks that the daemon may connect to the server of a source.
    ///
    /// # Errors
    /// If the server was not named at the start.
    pub fn require(&self, source: &Source) -> Result<(), FetchError> {
        match server_of(&self.settings, source) {
            Some(server) if self.servers.contains_key(server) => Ok(()),
            Some(server) => Err(FetchError::Outside(server.to_string())),
            None => Err(FetchError::Outside(source.location.to_string())),
        }
    }

    /// The store of a source, and the folder of its files in the store.
    pub(crate) fn store(&self, source: &Source) -> Result<(Box<dyn ObjectStore>, Path), FetchError> {
        self.require(source)?;
        let failed = |error: &dyn std::fmt::Display| FetchError::Unreachable {
            url: source.location.to_string(),
            why: error.to_string(),
        };
        let server = server_of(&self.settings, source).ok_or_else(|| failed(&"no server"))?;
        let addresses = match self.servers.get(server) {
            Some(addresses) => addresses.clone()?,
            None => return Err(FetchError::Outside(server.to_string())),
        };
        let tls = server.is_tls.then(|| self.tls.clone()).transpose()?;
        let connector = Connector(Dialer::new(server.clone(), addresses, tls));
        // The schedule decides when to try again.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let options = ClientOptions::new().with_allow_http(!server.is_tls);
        match &source.location {
            Location::Web(_, path) => {
                let builder = HttpBuilder::new()
                    .with_url(format!("{server}{}", path.trim_end_matches('/')))
                    .with_retry(retry);
                let builder = builder.with_client_options(options).with_http_connector(connector);
                Ok((Box::new(builder.build().map_err(|error| failed(&error))?), Path::default()))
            }
            Location::S3 { bucket, prefix } => {
                let builder =
                    AmazonS3Builder::new().with_endpoint(server.to_string()).with_bucket_name(bucket);
                let builder = builder.with_region(&self.settings.s3_region).with_retry(retry);
                let builder = builder.with_client_options(options).with_http_connector(connector);
                let builder = match self.key.clone()? {
                    Some((id, key)) => builder.with_access_key_id(id).with_secret_access_key(key),
                    None => builder.with_skip_signature(true),
                };
                let folder = Path::parse(prefix).map_err(|error| failed(&error))?;
                Ok((Box::new(builder.build().map_err(|error| failed(&error))?), folder))
            }
        }
    }
}

/// The server that has the files. `None` if no S3 store is named.
fn server_of<'a>(settings: &'a Settings, source: &'a Source) -> Option<&'a Server> {
    match &source.location {
        Location::Web(server, _) => Some(server),
        Location::S3 { .. } => settings.s3_endpoint.as_ref(),
    }
}
