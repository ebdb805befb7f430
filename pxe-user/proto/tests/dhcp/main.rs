//! Tests of proxyDHCP with recorded requests of real firmware, the conformance checklist, hostile input, and
//! an independent decoder.
//!
//! "clients.md" is the project's list of the measured behaviour of PXE clients. Line numbers refer to its
//! section 6 (what must hold) and its section 5 (input that pxed must survive).

mod checklist;
mod destinations;
mod golden;
mod hostile;
mod loaders;
mod machines;
mod oracle;
mod properties;
mod rules;
mod support;
