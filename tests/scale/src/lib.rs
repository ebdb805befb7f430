//! Measures the fleet layers of many responders at one real PostgreSQL: how many boots a second, how soon one responder shows
//! what another has seen, and what a machine costs in the database and in memory.
//!
//! | file | noun |
//! |---|---|
//! | [`responder`] | one responder's fleet, without its datapath, and machines that boot there |
//! | [`measure`] | what is measured, and the table |

pub mod measure;
pub mod responder;
