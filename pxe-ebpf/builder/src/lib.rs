//! Builds the kernel objects, and checks whether the committed objects are up to date.
//!
//! pxed's kernel programs need a compiler that few machines have. Therefore the objects are part of the
//! source tree, beside a record of what they were built from, and building pxed needs stable Rust only:
//!
//! ```text
//! pxe-user/nic/ebpf/pxed.bpf.o        the daemon's programs, embedded by pxe-nic
//! pxe-user/nic/ebpf/built-from.toml   the record: hashes of objects and inputs, versions of compiler and linker
//! tests/ebpf/load.bpf.o               the load generator's programs
//! tests/ebpf/timing.bpf.o             programs that measure the daemon's programs
//! ```
//!
//! [`inputs`] hashes everything that determines the content of an object, [`record`] reads and writes the
//! record, [`compiler`] finds a compiler, and [`compile`] runs it. There are two callers:
//! `pxe-user/nic/build.rs` compares the hashes at each build, and `cargo xtask ebpf` builds the objects
//! again. This crate never installs a compiler; xtask does.

pub mod compile;
pub mod compiler;
pub mod inputs;
pub mod record;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A binary target of `pxe-ebpf` and its committed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Name of the binary target.
    pub target: &'static str,
    /// Path of the committed object, relative to the workspace.
    pub file: &'static str,
}

/// The object with the daemon's programs.
pub const DAEMON: Object = Object { target: "pxe-ebpf", file: "pxe-user/nic/ebpf/pxed.bpf.o" };
/// The object with the load generator's programs.
pub const LOAD: Object = Object { target: "load", file: "tests/ebpf/load.bpf.o" };
/// The object with the programs that measure the daemon's programs.
pub const TIMING: Object = Object { target: "timing", file: "tests/ebpf/timing.bpf.o" };
/// All objects, in the order in which [`compile::compile`] returns their files.
pub const OBJECTS: [Object; 3] = [DAEMON, LOAD, TIMING];

/// Returns the SHA-256 of `bytes` in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    #[test]
    fn sha256_is_written_in_hexadecimal() {
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), wanted);
    }
}
