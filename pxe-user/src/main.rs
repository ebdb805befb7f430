//! `pxed`, the network boot responder.

fn main() {}
