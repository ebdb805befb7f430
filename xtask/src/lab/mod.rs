//! The lab.
pub mod firmware;
