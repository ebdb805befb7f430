//! Helpers of the privileged tests in `tests/`. The tests need root, and the tools that `cargo xtask setup` installs: a
//! test fails if a tool is missing.

pub mod guest;
pub mod machine;
pub mod manager;
pub mod neighbours;
pub mod podman;
pub mod root;
