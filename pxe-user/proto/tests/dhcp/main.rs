//! proxyDHCP against real firmware's requests, the conformance checklist, hostile input and an independent decoder.
//!
//! "clients.md" is the project's list of what PXE clients were measured to do; line numbers are those of its section 6
//! (what must hold) and section 5 (what must be survived).

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
