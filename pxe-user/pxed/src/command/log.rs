//! Log lines, on standard error.

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

/// Starts logging. `RUST_LOG` sets the filter (default `info`); the line of `pxed::ready` is always shown.
pub(super) fn start(format: LogFormat) -> Result<()> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into());
    // At debug, aya logs each relocation. `RUST_LOG` can enable that by naming aya.
    let filter = EnvFilter::try_new(format!("aya=warn,aya_obj=warn,{directives},pxed::ready=info"))
        .with_context(|| format!("RUST_LOG={directives} is no log filter: try RUST_LOG=debug"))?;
    // Writing may fail because the terminal is gone or the disk is full. The subscriber would report that by a macro
    // that panics, which must not end the daemon.
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
