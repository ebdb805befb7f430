//! Memory that the kernel programs share with the daemon, so that the kernel can answer ACKs by itself.
//!
//! | file | contents |
//! |---|---|
//! | [`progress`] | how far the kernel has come with each transfer |
//! | `slot` | the words of one transfer in that memory |
//! | [`files`] | the blocks that the kernel can send |

pub mod files;
pub mod progress;
mod slot;
