//! Helpers of the privileged tests. They need root, and the tools that `cargo xtask setup` installs; a test whose tool is
//! missing fails.

pub mod guest;
pub mod machine;
pub mod manager;
pub mod neighbours;
pub mod podman;
pub mod root;
