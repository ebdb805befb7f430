//! The daemon's life: start, supervision, reload, hand-over, end.
//!
//! ```text
//! Prepared --> Opened --> Confined (start) --> Running (running), watched by supervise until the end
//! ```
//! | file | contents |
//! |---|---|
//! | `preconditions`, `planning` | what prevents the start, and how each interface is to be served; nothing is changed |
//! | `start`, `open_interface`, `confined` | the phases of the start, on one thread, and the confinement |
//! | `running`, `served_interface`, `web` | the threads, from their start to their end |
//! | `supervise`, `watchdog`, `gauge_collector`, `refusal_notice` | the main thread, and what it reports |
//! | `reload` | the settings in force, and their replacement |
//! | `handover` | the state that one daemon leaves to the next |
//! | `shared_ledger` | the database that several responders share; opened before the confinement |
//! | `opened_sources`, `image_sources` | what images from elsewhere need from before the confinement, and the thread that fetches them |
//! | `segment_view`, `segment_members` | with whom the segment is shared, and how its responders are found in that database |
//! | `kernel_config`, `own_files`, `retry`, `thread_deps` | what several of these need |
//!
//! A start that fails leaves nothing behind: each part closes what it holds when it is dropped, and the kernel does the same if the
//! process dies. No file here may start a thread by itself: see `confined::ThreadPermit`.

mod confined;
mod foreign_proxies;
mod gauge_collector;
mod handover;
mod image_sources;
mod kernel_config;
mod open_interface;
mod opened_sources;
mod own_files;
mod planning;
pub mod preconditions;
mod refusal_notice;
mod reload;
mod retry;
mod running;
mod segment_members;
mod segment_view;
mod served_interface;
mod shared_ledger;
mod start;
mod supervise;
mod thread_deps;
mod watchdog;
mod web;

use anyhow::Result;

use crate::offering::Offering;
pub use handover::{Inheritance, StoredHandover};
pub use planning::{plan, plans};
pub use reload::ConfigReader;
use running::Running;
pub(crate) use segment_members::sightings;
pub use shared_ledger::shared_ledger;
use start::Prepared;

/// Serves until a signal or a successor ends the daemon. Resumes the transfers of a predecessor, as `inheritance` says; `reader`
/// reads the settings again when the file has changed.
///
/// # Errors
/// What prevents the start, with the remedy, or what ended the daemon. Nothing stays attached or open.
pub fn serve(offering: Offering, reader: ConfigReader, inheritance: Inheritance) -> Result<()> {
    let confined = Prepared::new(offering, reader)?.open(inheritance)?.confine()?;
    supervise::run(Running::start(confined)?)
}
