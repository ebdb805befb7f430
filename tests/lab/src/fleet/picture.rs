//! Opens the board in a real browser by WebDriver (W3C recommendation, 2018), reads the page, and takes pictures of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pxe_kit::{Lab, Process, clock, command};
use serde_json::{Value, json};

use super::facts::output;
use super::scene::BOARD;

/// The names of browsers that can take pictures without a screen.
pub const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];
/// The names of the program that controls the browser.
pub const DRIVERS: &[&str] = &["chromedriver"];

/// chromedriver's port. It is free, because chromedriver runs in the responder's namespace.
const PORT: u16 = 9515;
/// The limit until the page shows what the daemon knows.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with a page. Dropping it ends the browser and chromedriver.
pub(super) struct Browser<'l> {
    lab: &'l Lab,
    session: String,
    _driver: Process,
}

impl<'l> Browser<'l> {
    /// Starts a browser in the responder's namespace.
    pub(super) fn start(lab: &'l Lab) -> Result<Self> {
        let find = |names: &[&str]| names.iter().find_map(|name| command::find(name));
        let missing = "is not installed: run `cargo xtask setup`";
        let chromium = find(BROWSERS).with_context(|| format!("Chromium {missing}"))?;
        let driver = find(DRIVERS).with_context(|| format!("chromedriver {missing}"))?;
        let mut driver = lab.responder().command(&driver.to_string_lossy());
        driver.arg(format!("--port={PORT}"));
        let driver = lab.spawn("chromedriver", driver)?;
        clock::wait_until("chromedriver", PATIENCE, || Ok(driver.stdout().contains("started successfully")))?;
        let folder = lab.folder().join("browser");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1400,900",
            "--hide-scrollbars",
            &format!("--user-data-dir={}", folder.display()),
        ];
        let options = json!({ "binary": chromium, "args": arguments });
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let answer = call(lab, "POST", "/session", Some(&wish))?;
        let session = answer["sessionId"].as_str().context("the browser does not start")?.to_owned();
        Ok(Self { lab, session, _driver: driver })
    }

    /// Opens a path of the board, and waits until the text of the page contains all these words.
    pub(super) fn open(&self, place: &str, words: &[String]) -> Result<()> {
        self.say("POST", "/url", Some(&json!({ "url": format!("http://{BOARD}/{place}") })))?;
        clock::wait_until(&format!("{place} in the browser"), PATIENCE, || {
            let text = self.run("return document.body.innerText")?;
            let text = text.as_str().unwrap_or_default().to_lowercase();
            Ok(words.iter().all(|word| text.contains(&word.to_lowercase())))
        })
        .with_context(|| {
            format!(
                "the page does not show {words:?}: {}",
                self.run("return document.body.innerText").unwrap_or_default()
            )
        })
    }

    /// Runs a script in the page, and returns its value.
    pub(super) fn run(&self, script: &str) -> Result<Value> {
        self.say("POST", "/execute/sync", Some(&json!({ "script": script, "args": [] })))
    }

    /// The errors in the browser's console.
    pub(super) fn complaints(&self) -> Result<Vec<String>> {
        let log = self.say("POST", "/se/log", Some(&json!({ "type": "browser" })))?;
        let severe = log.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE");
        Ok(severe.filter_map(|entry| Some(entry["message"].as_str()?.to_owned())).collect())
    }

    /// Saves a picture of the page.
    pub(super) fn picture(&self, file: &Path) -> Result<PathBuf> {
        let picture = self.say("GET", "/screenshot", None)?;
        let bytes = STANDARD.decode(picture.as_str().unwrap_or_default()).context("no picture came")?;
        fs::write(file, bytes)?;
        Ok(file.to_owned())
    }

    fn say(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        call(self.lab, method, &format!("/session/{}{path}", self.session), body)
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // If this fails, the browser ends with the lab: it is a child of chromedriver.
        drop(call(self.lab, "DELETE", &format!("/session/{}", self.session), None));
    }
}

fn call(lab: &Lab, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let mut curl = lab.responder().command("curl");
    curl.args(["--silent", "--show-error", "--max-time", "60", "--request", method]);
    if let Some(body) = body {
        curl.args(["--header", "content-type: application/json", "--data-binary", &body.to_string()]);
    }
    curl.arg(format!("http://127.0.0.1:{PORT}{path}"));
    let answer: Value = serde_json::from_str(&output(curl)?).context("chromedriver's answer is no JSON")?;
    let value = answer["value"].clone();
    if let Some(error) = value["error"].as_str() {
        bail!("{method} {path}: {error}: {}", value["message"].as_str().unwrap_or_default());
    }
    Ok(value)
}
