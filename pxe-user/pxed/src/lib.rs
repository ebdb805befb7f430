//! The library behind the program `pxed`: the command line, the configuration, and the daemon's life from start to end.
//!
//! | module | what |
//! |---|---|
//! | [`command`] | the command line |
//! | [`server`] | the daemon: start, supervision, reload, hand-over, end |
//! | [`offering`] | from the settings to the rules of an interface |
//! | [`config`] | all settings with their defaults; `pxed.toml`, and the problems in it, by line |
//! | [`image_cache`] | the files to serve, with those that the cache has of images from elsewhere |
//! | [`confine`] | gives up the privileges that only the start needs |

pub mod command;
pub mod config;
pub mod confine;
pub mod image_cache;
pub mod offering;
pub mod server;
