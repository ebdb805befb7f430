//! TFTP through the whole responder, with a real catalogue and a simulated host: the checklists of
//! clients.md, and simulated clients, which behave as real ones do, on a bad network in virtual time.

mod access;
mod admission;
mod amplification;
mod checklist;
mod clients;
mod early_retransmit;
mod hostile;
mod identity;
mod inbox;
mod machines;
mod network;
mod offload;
mod rates;
mod rules;
mod segment;
mod simulation;
mod support;
mod uploads;
mod uploads_simulation;
