//! A picture of the board, by a real browser.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::scene::BOARD;
use crate::command;
use crate::lab::Lab;

/// Browsers that take pictures without a screen.
pub(crate) const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Takes the picture in the responder's namespace, where the board listens.
pub(super) fn take(lab: &Lab, out: &Path) -> Result<PathBuf> {
    let browser = BROWSERS.iter().find_map(|name| command::find(name));
    let browser = browser.context("no Chromium is installed: run `cargo xtask setup`")?;
    let picture = out.join("board.png");
    if picture.exists() {
        fs::remove_file(&picture)?;
    }
    let mut chromium = lab.responder().command(&browser.to_string_lossy());
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.args(["--window-size=1400,900", "--timeout=8000", "--hide-scrollbars"]);
    chromium.arg(format!("--user-data-dir={}", lab.folder().join("browser").display()));
    chromium.arg(format!("--screenshot={}", picture.display()));
    chromium.arg(format!("http://{BOARD}/"));
    let browser = lab.spawn("chromium", chromium)?;
    let status = browser.wait(std::time::Duration::from_secs(120))?;
    ensure!(status.success() && picture.exists(), "no picture of the board: {}", browser.last_words());
    Ok(picture)
}
