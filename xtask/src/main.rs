//! `cargo xtask`: set-up, the main job, the tests.

fn main() {}
