//! `pxed explain` and `pxed check --config`, run as programs: their output and exit codes.

mod captures;
mod check;
mod machine;
mod support;
