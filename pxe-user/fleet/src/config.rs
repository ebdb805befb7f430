//! What the fleet is kept with, and the time of day that it shows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use crate::board::UnixMs;
use pxe_ledger::postgres::{Target, TargetError};

/// Default of [`FleetConfig::retention`]: 30 days.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Default of [`FleetConfig::silence`]. memtest86+ writes a tick every 10 s.
const SILENCE: Duration = Duration::from_secs(60);

/// Default of [`SharedLedger::spool_max`]: 64 MiB.
pub const SPOOL_MAX: u64 = 64 << 20;

/// What the other responders see of this one. It changes with the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The segment's name, if this responder is in one.
    pub segment: Option<String>,
    /// A digest of the rules.
    pub rules: Option<String>,
}

/// A database that several responders share, beside the directory of this host.
#[derive(Clone, Debug)]
pub struct SharedLedger {
    /// The database, or why this host cannot connect to it.
    pub target: Result<Target, TargetError>,
    /// The name of this responder, unique in the database.
    pub responder: String,
    /// The host's name, for messages of others.
    pub host: String,
    /// Maximum size of what waits for the database, in bytes.
    pub spool_max: u64,
    /// What the other responders see of this one.
    pub about: Arc<ArcSwap<About>>,
}

/// Configuration of the fleet.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The directory of the database. With `None`, the fleet forgets everything when the daemon ends.
    pub state: Option<PathBuf>,
    /// The shared database. It needs `state`, where batches wait for it.
    pub ledger: Option<SharedLedger>,
    /// A file to which the store appends each step as a line of JSON. If another program moves the file away,
    /// the store creates a new one.
    pub events: Option<PathBuf>,
    /// How long the database keeps steps, boots and errors.
    pub retention: Duration,
    /// A test without a report or console line for this long counts as silent.
    pub silence: Duration,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self { state: None, ledger: None, events: None, retention: RETENTION, silence: SILENCE }
    }
}

/// Returns the wall-clock time in UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the fleet's wall clock")]
pub fn wall_clock() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
