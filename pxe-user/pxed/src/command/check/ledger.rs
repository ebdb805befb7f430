//! Checks the shared ledger (`[ledger]`): connects to it, and changes nothing.

use std::time::Duration;

use super::report::{LedgerReport, Report};
use crate::config::{Config, Settings};
use crate::server;
use pxe_engine::clock::Clock;
use pxe_ledger::postgres::{PostgresError, probe};
use pxe_proto::time::Timestamp;

pub(super) fn examine(report: &mut Report, file: &Config, settings: &Settings) {
    let Some(ledger) = server::shared_ledger(settings) else { return };
    let line = file.line_of_key("ledger");
    let target = match ledger.target {
        Ok(target) => target,
        Err(error) => return report.error(line, error.to_string()),
    };
    let clock = Clock::start();
    match probe(&target, || clock.now().since(Timestamp::default())) {
        Ok(found) => {
            report.ledger = Some(LedgerReport {
                responder: ledger.responder,
                server: found.server,
                schema: found.schema,
                newest_schema: found.known,
                latency_ms: milliseconds(found.latency),
            });
        }
        // pxed serves meanwhile, and what it stores waits.
        Err(
            error @ (PostgresError::Unreachable { .. } | PostgresError::Slow { .. } | PostgresError::Full(_)),
        ) => {
            report.warning(line, format!("{error}. Until then history waits on this host"));
        }
        Err(error) => report.error(line, error.to_string()),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
