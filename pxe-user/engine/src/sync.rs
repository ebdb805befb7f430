//! The synchronisation types for files whose way of sharing between threads is the project's own: here those
//! of the standard library. `tests/models` compiles the same files with those of loom, which tries every
//! order of events.

pub(crate) use std::sync::{Arc, atomic};
