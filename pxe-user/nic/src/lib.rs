//! Receives and sends frames and datagrams. This crate knows no protocol above UDP; the engine's workers call
//! it.
//!
//! | file | contents |
//! |---|---|
//! | [`drops`] | what the kernel has dropped at a socket |
//! | [`ethernet`] | Ethernet addresses as the kernel writes them |
//! | [`interface`] | facts about a network interface, from sysfs, procfs and `getifaddrs` |
//! | [`lock`] | one responder per interface |
//! | [`neighbours`] | the kernel's neighbour table |
//! | [`programs`] | the kernel programs and their maps (with `offload` the only user of aya) |
//! | [`offload`] | memory shared with the kernel programs, for answers that the kernel sends by itself |
//! | `umem` | the memory in which kernel and daemon share frames |
//! | `ring` | the four rings of an AF_XDP socket |
//! | [`xsk`] | an AF_XDP socket: its receiving and sending halves |
//! | [`packet`] | a packet socket that receives a port's datagrams beside the port's owner |
//! | [`tcp`] | what the kernel knows about the bytes of a TCP connection |
//! | [`udp`] | plain sockets with batches and segmentation, for hosts without XDP |
//!
//! Only `drops`, `umem`, `ring`, `xsk`, `programs::link`, `packet`, `tcp`, `udp` and `offload` contain
//! `unsafe`, with an argument for each block.

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

/// A receive queue of an interface, by its number from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue(pub u32);
