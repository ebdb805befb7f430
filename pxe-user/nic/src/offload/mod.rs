//! Memory that the kernel programs share with us for answering ACKs by themselves.
//!
//! | file | noun |
//! |---|---|
//! | [`progress`] | how far the kernel has come with each transfer |
//! | `slot` | one transfer's words in it |
//! | [`files`] | blocks that it can send |

pub mod files;
pub mod progress;
mod slot;
