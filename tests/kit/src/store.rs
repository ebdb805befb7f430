//! Where images come from, for tests: an S3 store (moto) and a web server, both with TLS, in this thread's network namespace.
//!
//! Both are Python, because moto is, and because its dependencies can make the certificates.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{Process, clock, command, python};

/// The address of both servers.
const ADDRESS: &str = "127.0.0.1";
/// The only bucket.
pub const BUCKET: &str = "images";
const START_MAX: Duration = Duration::from_secs(120);
/// Makes an authority, and a certificate for the address.
const CERTIFICATES: &str = include_str!("store/certificates.py");
/// Serves a folder over HTTPS.
const WEB: &str = include_str!("store/web.py");
/// Makes a bucket, and a user who may do everything with it. Prints the user's key.
const USER: &str = include_str!("store/user.py");

/// Certificates in a folder: `ca.pem`, `server.pem`, `server.key`.
fn certificates(folder: &Path) -> Result<()> {
    command::output(python::command()?.args(["-c", CERTIFICATES, ADDRESS]).arg(folder)).map(drop)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((ADDRESS, 0))?.local_addr()?.port())
}

/// An S3 store with one bucket.
#[derive(Debug)]
pub struct S3 {
    process: Process,
    folder: PathBuf,
    port: u16,
    key: (String, String),
    needs_key: AtomicBool,
}

impl S3 {
    /// Starts a store with its files in `folder`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        certificates(folder)?;
        let port = free_port()?;
        let mut moto = python::program("moto_server")?;
        moto.args(["--host", ADDRESS, "--port", &port.to_string(), "--ssl"]);
        moto.arg("--ssl-cert").arg(folder.join("server.pem")).arg("--ssl-key").arg(folder.join("server.key"));
        let process = Process::start("moto", moto, folder)?;
        process.wait_for("Running on", START_MAX)?;
        let mut store = Self {
            process,
            folder: folder.to_owned(),
            port,
            key: Default::default(),
            needs_key: AtomicBool::new(false),
        };
        let printed = command::output(
            python::command()?.args(["-c", USER, &store.endpoint(), BUCKET]).arg(store.authority()),
        )?;
        let (id, secret) = printed.trim().split_once(' ').context("no key was printed")?;
        store.key = (id.to_owned(), secret.to_owned());
        Ok(store)
    }

    /// The store's URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://{ADDRESS}:{}", self.port)
    }

    /// The file with the authority of its certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The ID of a key, and its secret.
    #[must_use]
    pub fn key(&self) -> (&str, &str) {
        (&self.key.0, &self.key.1)
    }

    /// Requires a signature by the key for all requests from now on.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn require_key(&self) -> Result<()> {
        self.needs_key.store(true, Ordering::Relaxed);
        self.allow_unsigned(0)
    }

    /// Lets so many requests pass without a look at their signatures.
    fn allow_unsigned(&self, requests: u32) -> Result<()> {
        let url = format!("{}/moto-api/reset-auth", self.endpoint());
        let count = requests.to_string();
        command::output(self.curl(&url).args(["--header", "Content-Type: text/plain", "--data", &count]))
            .map(drop)
    }

    /// Puts an object into the bucket, under its key as it is.
    ///
    /// # Errors
    /// If the store rejects it.
    pub fn put(&self, key: &str, contents: &[u8]) -> Result<()> {
        let file = self.folder.join("upload");
        fs::write(&file, contents)?;
        let url = format!("{}/{BUCKET}/{key}", self.endpoint());
        // moto computes another signature of an upload than curl.
        let needs_key = self.needs_key.load(Ordering::Relaxed);
        if needs_key {
            self.allow_unsigned(1)?;
        }
        command::output(self.curl(&url).arg("--path-as-is").arg("--upload-file").arg(&file))?;
        if needs_key { self.allow_unsigned(0) } else { Ok(()) }
    }

    /// Removes an object.
    ///
    /// # Errors
    /// If the store does not answer.
    pub fn remove(&self, key: &str) -> Result<()> {
        let url = format!("{}/{BUCKET}/{key}", self.endpoint());
        command::output(self.curl(&url).args(["--request", "DELETE", "--path-as-is"])).map(drop)
    }

    /// Ends the store's process, and keeps the value.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&self) -> Result<()> {
        self.process.stop().map(drop)
    }

    fn curl(&self, url: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args([
            "--aws-sigv4",
            "aws:amz:us-east-1:s3",
            "--user",
            &format!("{}:{}", self.key.0, self.key.1),
        ]);
        curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(self.authority()).arg(url);
        curl.stdin(Stdio::null());
        curl
    }
}

/// A web server.
#[derive(Debug)]
pub struct Web {
    process: Process,
    folder: PathBuf,
    port: u16,
}

impl Web {
    /// Serves the folder `files` below `folder`.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(folder: &Path) -> Result<Self> {
        certificates(folder)?;
        fs::create_dir_all(folder.join("files"))?;
        let web = Self { process: Self::launch(folder, 0)?, folder: folder.to_owned(), port: 0 };
        let said = web.process.stdout();
        let port = said.split_whitespace().last().and_then(|port| port.parse().ok());
        Ok(Self { port: port.context("no port was printed")?, ..web })
    }

    fn launch(folder: &Path, port: u16) -> Result<Process> {
        let mut server = python::command()?;
        server.args(["-u", "-c", WEB, ADDRESS, &port.to_string()]).arg(folder);
        let process = Process::start("web", server, folder)?;
        clock::wait_until("the web server starts", START_MAX, || {
            ensure!(process.is_running(), "{}", process.stderr());
            Ok(process.stdout().contains("port "))
        })?;
        Ok(process)
    }

    /// The URL of the folder.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{ADDRESS}:{}/", self.port)
    }

    /// The file with the authority of its certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The folder that it serves.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// Ends the server.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&self) -> Result<()> {
        self.process.stop().map(drop)
    }

    /// Starts it again on the same port.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Self::launch(&self.folder, self.port)?;
        Ok(())
    }
}
