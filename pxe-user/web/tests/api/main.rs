//! The API over real sockets: its responses, its access control, and hostile clients.

mod access;
mod events;
mod hostile;
mod machines;
mod metrics;
mod openapi;
mod read;
mod support;
mod write;
