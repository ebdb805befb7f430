//! The library behind the program `pxed`: the command line, the configuration, and the daemon's life from start to end.
//!
//! | module | what |
//! |---|---|
//! | [`command`] | the command line |
//! | [`server`] | sets everything up, replaces what changes, and takes it down |
//! | [`offering`] | what is offered to whom, and the rules of an interface that follow from it |
//! | [`config`] | `pxed.toml`, and everything that is wrong in it, by line |
//! | [`confine`] | gives up every right that is needed at the start only |

pub mod command;
pub mod config;
pub mod confine;
pub mod offering;
pub mod server;
