//! Checks the shared ledger (`[ledger]`), and the responders of the segment in it: connects to it, and changes nothing.

use std::time::Duration;

use super::report::{LedgerReport, Report};
use crate::config::{Config, SegmentSettings, Settings};
use crate::server;
use pxe_engine::clock::Clock;
use pxe_engine::segment::membership::Membership;
use pxe_ledger::postgres::{MemberRow, PostgresError, Target, members, probe};
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
            if let Some(segment) = settings.segment.as_ref().filter(|segment| segment.listed().is_none()) {
                segment_members(report, file.line_of_key("segment"), &target, &ledger.host, segment);
            }
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

/// Shows who shares the segment now. A pxed that serves under this responder's name on this host counts, too.
fn segment_members(
    report: &mut Report,
    line: Option<usize>,
    target: &Target,
    host: &str,
    settings: &SegmentSettings,
) {
    let rows = match members(target, &settings.name) {
        Ok(rows) => rows,
        Err(error) => return report.error(line, error.to_string()),
    };
    let own = settings.own();
    let is_taken = |row: &&MemberRow| {
        *row.responder == *own && !row.lease.is_zero() && !row.has_left && row.host != host
    };
    if let Some(other) = rows.iter().find(is_taken) {
        report.error(
            line,
            format!(
                "another pxed, on {}, is in segment {} as `{own}`: give this one another name (`responder` in [ledger])",
                other.host, settings.name
            ),
        );
    }
    let mut membership = Membership::new(own);
    // Nobody is there yet, or what is there cannot share: the daemon says so on its board.
    if membership.read(Timestamp::default(), &server::sightings(&rows)).is_ok()
        && let Some(presence) = membership.presence()
        && let Some(segment) = report.settings.as_mut().and_then(|settings| settings.segment.as_mut())
    {
        segment.show(&presence.segment, &presence.table());
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
