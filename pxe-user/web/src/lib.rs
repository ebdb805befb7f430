//! Everything over HTTP: boot files for machines, and the API, the metrics and the dashboard for people and programs.
//!
//! | module | what |
//! |---|---|
//! | [`http`] | boot files |
//! | [`api`] | what people and programs see of the fleet, and what machines report |

pub mod api;
pub mod http;
