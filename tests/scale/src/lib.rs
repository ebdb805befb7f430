//! Measures the fleet layers of many responders at one real PostgreSQL: how many boots a second, how soon one responder shows
//! what another has seen, and what a machine costs in the database and in memory.
//!
//! | file | noun |
//! |---|---|
//! | [`responder`] | one responder's fleet, without its datapath, and machines that boot there |
//! | `reader` | a reader of a responder's API |
//! | `usage` | processor time and memory |
//! | [`measure`] | what is measured, and the table |

pub mod measure;
mod reader;
pub mod responder;
mod usage;
