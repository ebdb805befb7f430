//! The API over real sockets: what it answers, to whom, and what hostile clients do to it.

mod access;
mod events;
mod hostile;
mod machines;
mod metrics;
mod openapi;
mod read;
mod support;
mod write;
