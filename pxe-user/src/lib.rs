//! The library behind `pxed`: a network boot responder beside a network's own DHCP server.
//!
//! ```text
//! NIC --> pxe-ebpf: classify --PASS--> kernel (everything that is not surely ours)
//!               |
//!               +--ANSWER: the next DATA of a transfer that worker::offload has given to the kernel
//!               |
//!               +--REDIRECT--> nic::xsk --> datagram --> responder { dhcp | tftp } --> datagram --> nic::xsk --> NIC
//!                                                            |
//!                              nic::udp (no XDP) ------------+--> boot: snapshots of boot files
//! ```
//!
//! Modules in the order of a packet's way; each knows only those to its right. `ARCHITECTURE.md` lists the exceptions.
//!
//! | module | what | knows |
//! |---|---|---|
//! | [`command`] | the command line | all |
//! | [`server`] | sets everything up, replaces what changes, and takes it down | `worker`, `plan`, `config`, `confine`, `fleet`, `api`, `http` |
//! | [`config`] | `pxed.toml`, and everything that is wrong in it, by line | `rules`, `boot`, `plan` |
//! | [`api`] | what people and programs see of the fleet, over HTTP | `fleet`, `gauges` |
//! | [`http`] | boot files over HTTP | `boot`, `fleet`, `api` for connections |
//! | [`confine`] | gives up every right that is needed at the start only | - |
//! | [`plan`] | which datapath on which interface, and why | `nic` |
//! | [`worker`] | the only place where datapath, responder and clock meet | `nic`, `responder`, `datagram` |
//! | [`nic`] | frames and datagrams in and out | no protocol |
//! | [`datagram`] | frame <-> datagram | `checksum` |
//! | [`responder`] | datagram in, datagrams out; pure | `rules`, `dhcp`, `tftp`, `boot`, `fleet` |
//! | [`rules`] | which machine gets what; pure | `dhcp` |
//! | [`dhcp`] | request -> reply or a reason for silence; pure | - |
//! | [`tftp`] | packets, transfers, their table; pure | - |
//! | [`boot`] | what is served under which name | `dhcp` and `tftp` for their plain types |
//! | [`fleet`] | the machines and their story, kept on a thread of its own | plain types |
//! | [`gauges`] | what the daemon shows of itself | plain types |
//! | [`pulse`] | signs of life of the daemon's threads | plain types |
//! | [`tally`] | every outcome is a counter | plain types |

pub mod api;
pub mod boot;
pub mod checksum;
pub mod clock;
pub mod command;
pub mod config;
pub mod confine;
pub mod datagram;
pub mod dhcp;
pub mod fleet;
pub mod gauges;
pub mod http;
pub mod inbox;
pub mod mac;
pub mod nic;
pub mod offering;
pub mod plan;
pub mod pulse;
pub mod responder;
pub mod rules;
pub mod server;
mod suggest;
mod sync;
pub mod tally;
pub mod tftp;
pub mod time;
pub mod worker;
