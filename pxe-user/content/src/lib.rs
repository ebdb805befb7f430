//! What machines boot, which of them gets what, and where the files that they hand in go.
//!
//! | module | what |
//! |---|---|
//! | [`boot`] | boot files: trees, images, snapshots in memory, files that are generated for one machine |
//! | [`rules`] | which machine gets which image; pure |
//! | [`inbox`] | the storage for uploads |
//! | [`suggest`] | "did you mean" |

pub mod boot;
pub mod inbox;
pub mod rules;
pub mod suggest;
