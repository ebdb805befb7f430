//! Images from elsewhere: files that pxed fetches over HTTPS or from an S3 store, and keeps in a bounded cache.
//!
//! ```text
//! Source (configuration) --> Schedule (pure): what is due --> fetch: ask, download, verify --> Cache: whole or not at all
//!                                                                                                |
//!                                       Follower::stored --> the daemon opens its catalogue anew <+
//! ```
//! | file | contents |
//! |---|---|
//! | [`source`] | where an image's files are, as the configuration names it; pure |
//! | `name` | which names of files are accepted; pure |
//! | [`schedule`] | what to ask for next, and when again after a failure; pure |
//! | `evict` | what the cache removes to make room; pure |
//! | `version` | the files of one version of an image |
//! | [`cache`] | files on disk |
//! | [`target`] | addresses, authorities and credentials; opened before the confinement |
//! | `dialer` | one HTTP request over one connection, to addresses that are known already |
//! | `fetch` | one look at one source |
//! | `error` | why an image is not fetched, with the remedy |
//! | [`follower`] | all images of a daemon together |
//!
//! One thread of the daemon calls [`follower::Follower`], which blocks; nothing waits for that thread. The crate starts no
//! thread, reads no clock, and knows neither the catalogue nor the configuration file.

pub mod cache;
mod dialer;
mod error;
mod evict;
mod fetch;
pub mod follower;
mod name;
pub mod schedule;
pub mod source;
pub mod target;
mod version;

pub use error::{FetchError, REASONS};
pub use version::{StoredFile, Version};
