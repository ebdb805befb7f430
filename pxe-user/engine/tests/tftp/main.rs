//! TFTP through the whole responder, over a real catalogue and a host that is not there: the checklists of clients.md,
//! and simulated clients with the manners of real ones on a bad network in virtual time.

mod access;
mod admission;
mod amplification;
mod checklist;
mod clients;
mod early_retransmit;
mod hostile;
mod identity;
mod machines;
mod network;
mod offload;
mod offload_cache;
mod rates;
mod rules;
mod simulation;
mod support;
mod uploads;
mod uploads_simulation;
