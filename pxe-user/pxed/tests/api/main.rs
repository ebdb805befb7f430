//! Commands of `pxed` against the API of a real server.

mod commands;
mod consoles;
// The server is that of the API's own tests, which use more of it.
#[path = "../../../web/tests/api/support.rs"]
#[allow(dead_code, reason = "these tests need a part of it")]
mod support;
