//! Log lines on standard error.

use anyhow::{Context as _, Result};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `RUST_LOG` filters, the ready line is always shown.
pub(super) fn start(format: LogFormat) -> Result<()> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    // aya tells each relocation at debug; who wants that names it.
    let filter = EnvFilter::try_new(format!("aya=warn,aya_obj=warn,{directives},pxed::ready=info"))
        .with_context(|| format!("RUST_LOG={directives} is no log filter: try RUST_LOG=debug"))?;
    // A terminal that is gone or a full disk must not end the daemon: the subscriber's own complaint would panic.
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_target(false).with_ansi(colours).init();
        }
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
