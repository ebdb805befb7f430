//! What the fleet is kept with, and the time of day that it shows.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::board::UnixMs;

/// Default of [`FleetConfig::retention`]: 30 days.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);
/// Default of [`FleetConfig::silence`]. memtest86+ writes a tick every 10 s.
const SILENCE: Duration = Duration::from_secs(60);

/// Configuration of the fleet.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The directory of the database. With `None`, the fleet forgets everything when the daemon ends.
    pub state: Option<PathBuf>,
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
        Self { state: None, events: None, retention: RETENTION, silence: SILENCE }
    }
}

/// Returns the wall-clock time in UTC.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the fleet's wall clock")]
pub fn wall_clock() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
