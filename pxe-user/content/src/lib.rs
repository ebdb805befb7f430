//! The contents that pxed serves and stores: boot files, the rules that choose an image for each machine, and
//! the inbox for uploads.
//!
//! The crate opens no socket and starts no thread. The daemon's threads call it: workers, loader, inbox and
//! web (crates `pxe-engine` and `pxe-web`).
//!
//! | module | contents |
//! |---|---|
//! | [`boot`] | boot files: trees, images, snapshots in memory, files that pxed writes for one machine |
//! | [`rules`] | the choice of an image for a machine; pure, without I/O |
//! | [`inbox`] | the storage for files that machines upload |
//! | [`suggest`] | "did you mean" suggestions for messages |

pub mod boot;
pub mod inbox;
pub mod rules;
pub mod suggest;
