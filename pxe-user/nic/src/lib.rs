//! Frames and datagrams in, frames and datagrams out. Knows no protocol above UDP.
//!
//! | file | noun |
//! |---|---|
//! | [`drops`] | what the kernel has thrown away at a socket |
//! | [`ethernet`] | Ethernet addresses as the kernel writes them |
//! | [`interface`] | what the host says of a network interface |
//! | [`lock`] | one responder per interface |
//! | [`neighbours`] | the kernel's neighbour table |
//! | [`programs`] | the kernel side: the programs and their maps (with `offload` the only user of aya) |
//! | [`offload`] | memory through which the kernel answers by itself |
//! | `umem` | memory that kernel and daemon share frames in |
//! | `ring` | the four rings of an AF_XDP socket |
//! | [`xsk`] | an AF_XDP socket: receiving and sending halves |
//! | [`packet`] | a packet socket that hears one port beside its owner |
//! | [`tcp`] | how the bytes of a TCP connection fare |
//! | [`udp`] | plain sockets with batches and segmentation, for hosts without XDP |
//!
//! `unsafe` lives in `drops`, `umem`, `ring`, `xsk`, `programs::link`, `packet`, `tcp`, `udp` and `offload` only, each block with its argument.

pub mod drops;
pub mod ethernet;
pub mod interface;
pub mod lock;
pub mod neighbours;
pub mod offload;
pub mod packet;
pub mod programs;
mod ring;
mod sync;
pub mod tcp;
pub mod udp;
mod umem;
pub mod xsk;

/// A receive queue of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue(pub u32);
