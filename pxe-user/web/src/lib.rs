//! Everything that pxed serves over HTTP: boot files for machines; the API, the metrics and the dashboard for people
//! and programs. `pxed/src/server/web.rs` opens the sockets and starts both servers.
//!
//! | module | contents |
//! |---|---|
//! | [`http`] | boot files |
//! | [`api`] | the state of the fleet, and what machines report and upload |

pub mod api;
pub mod http;
