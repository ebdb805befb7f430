//! The boot catalogue: which file pxed serves under which name.
//!
//! ```text
//! RRQ name --> FileName::normalise --> Catalogue::lookup (any thread, lock-free) --> Ready(Arc<Image>)
//!                                           | Absent                                  ^
//!                                           v                                         | published map
//!                                      Catalogue::load_for (may block) --> Tree::find --> sealed copy
//!                                      Catalogue::changed  <-- inotify
//! ```
//!
//! Workers call only [`Catalogue::lookup`], which takes no lock and reads no file. The other calls read the
//! file system and may block. The loader thread makes them (`load_for`, `changed`, `recheck`), blocking tasks
//! of the HTTP server (`load_for`), and the commands.
//!
//! | file | contents |
//! |---|---|
//! | [`catalogue`] | all parts together: the interface for the rest of the daemon |
//! | [`names`] | normalised names of files, from the names that clients send |
//! | [`refusal`] | why pxed does not serve a file |
//! | [`tree`] | the safe search for a file below a root directory |
//! | `mount` | a directory or a table of installed files, and the names that lead into it |
//! | [`discover`] | where distributions install boot files |
//! | `generated` | the virtual tree: installed files under fixed names, and the files that pxed generates |
//! | `usual` | the boot program of each architecture in a directory of the administrator |
//! | [`image_spec`] | an image as the configuration describes it |
//! | `images` | the boot programs of each image, and the roles of its files in a boot |
//! | `machine_files` | files that pxed writes for one machine |
//! | `template` | the templates of these files |
//! | `facts` | what a template can use about a machine |
//! | `nonce` | the random number of a boot, which reports must carry |
//! | [`image`] | a snapshot of a file |
//! | `sealed` | bytes that nobody can change; the only `unsafe` code of this crate |
//! | `memory` | the count of memory that all snapshots share |
//! | `store` | the loaded snapshots, published to all threads |
//! | `catalogue::file_loader` | copies files and follows changes |
//! | `watch` | inotify |
//! | `adopted` | snapshots that a predecessor process loaded |
//! | `entries` | listings for people |

mod adopted;
pub mod catalogue;
pub mod discover;
mod entries;
mod error;
mod facts;
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
pub use catalogue::{Catalogue, Changes, Config, Entry, Lookup, Source};
pub use entries::Preview;
pub use error::CatalogueError;
pub use facts::{MachineFacts, ServedAt};
pub use image::{Digest, Image, Origin, Role};
pub use image_spec::{ImageSpec, Stored};
pub use machine_files::{LoaderKind, is_looked_for, last_resort};
pub use names::FileName;
pub use nonce::{InvalidNonce, Nonce};
pub use refusal::Refusal;
pub use template::{TemplateError, check_template, needs_http};
pub use tree::Links;
