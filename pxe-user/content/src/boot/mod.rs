//! The boot catalogue: what is served under which name.
//!
//! ```text
//! RRQ name --> FileName::normalise --> Catalogue::lookup (any thread, lock-free) --> Ready(Arc<Image>)
//!                                           | Absent                                  ^
//!                                           v                                         | published map
//!                                      Catalogue::load (loader's thread) --> Tree::find --> sealed copy
//!                                      Catalogue::changed  <-- inotify
//! ```
//!
//! | file | noun |
//! |---|---|
//! | [`names`] | names as clients write them, normalised |
//! | [`refusal`] | why a file is not served |
//! | [`tree`] | finding a file below a root, confined |
//! | `sealed` | bytes that nobody can change (the only `unsafe` here) |
//! | [`image`] | a snapshot of a file |
//! | `memory` | the memory that all snapshots share |
//! | `store` | the snapshots that are loaded, published to all threads |
//! | `loader` | copying files and noticing changes |
//! | `watch` | inotify |
//! | [`discover`] | where distributions install what we boot |
//! | `generated` | the virtual tree: names, and the files that we write ourselves |
//! | `usual` | what each architecture starts with in a tree made by hand |
//! | `images` | what each image starts with, and what its files are in a boot |
//! | [`image_spec`] | an image as the configuration describes it |
//! | `mount` | a directory or a table of installed files, and the names that lead into it |
//! | `personal` | files that are written for one machine |
//! | `adopted` | images that another process of ours has loaded |
//! | `entries` | the list of everything, for people |
//! | [`catalogue`] | all of it together |

mod adopted;
pub mod catalogue;
pub mod discover;
mod entries;
mod facts;
mod file_loader;
mod generated;
pub mod image;
pub mod image_spec;
mod images;
mod machine_files;
mod memory;
mod mount;
pub mod names;
mod nonce;
pub mod refusal;
mod sealed;
mod store;
mod template;
pub mod tree;
mod usual;
mod watch;

pub use adopted::Contents;
pub use catalogue::{Catalogue, CatalogueError, Changes, Config, Entry, Lookup, Source};
pub use entries::Seen;
pub use facts::MachineFacts;
pub use image::{Digest, Image, Origin, Role};
pub use image_spec::ImageSpec;
pub use machine_files::{LoaderKind, ServedAt, is_looked_for, last_resort};
pub use names::FileName;
pub use nonce::{InvalidNonce, Nonce};
pub use refusal::Refusal;
pub use template::{TemplateError, check_template, needs_http};
pub use tree::Links;
