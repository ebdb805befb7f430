//! What threads share, where the way of sharing is our own: the standard library's. `tests/models` compiles the same files
//! with loom's, which tries every order in which things can happen.

pub(crate) use std::sync::atomic;
