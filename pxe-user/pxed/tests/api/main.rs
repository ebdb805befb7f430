//! Commands of `pxed` against the API of a real server.

#![expect(
    clippy::disallowed_methods,
    reason = "`tokio::test` makes runtimes, and no test confines this process"
)]

mod commands;
mod consoles;
// The server is that of the API's own tests, which use more of it.
#[path = "../../../web/tests/api/support.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod support;
