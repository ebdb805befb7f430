//! `pxed explain` and `pxed check --config`, as people run them: what they print, and how they end.

mod captures;
mod check;
mod machine;
mod support;
