//! The yardstick: frames that the other end sends back as they are, which no responder can outdo.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pxe_common::load::BLKSIZE_MAX;
use pxe_nic::programs::Mode;
use pxe_proto::datagram::{Link, write_frame};
use pxe_proto::mac::Mac;
use pxe_proto::time::Timestamp;

use super::dhcp::mac;
use super::programs::{Attached, Program};
use super::report::{Effort, Report};
use super::script::address;
use super::wire::{FRAME_MAX, OVERHEAD, Wire};
use crate::clock::Clock;

/// Frames per turn.
const BATCH: usize = 256;
/// Nobody listens here: the discard service.
const PORT: u16 = 9;
/// When nothing comes back for so long, what was under way is taken for lost.
const LOST_AFTER: Duration = Duration::from_millis(100);

/// A run against the reflector.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Index of the interface.
    pub interface: u32,
    /// Where the frames are sent.
    pub server: Ipv4Addr,
    /// The next hop's address.
    pub peer: Mac,
    /// Bytes per frame, with its Ethernet header.
    pub len: usize,
    /// Frames under way at a time.
    pub machines: u32,
    /// How long.
    pub time: Duration,
}

/// Sends every frame that comes back again.
///
/// # Errors
/// When the interface cannot be had, or the frames have no possible length.
pub fn run(plan: &Plan) -> Result<Report> {
    ensure!((OVERHEAD..=FRAME_MAX).contains(&plan.len), "a frame has {OVERHEAD} to {FRAME_MAX} bytes");
    let frame = frame(plan);
    let mut wire = Wire::open(plan.interface)?;
    let clock = Clock::start();
    let mut effort = Effort::start(clock.now());
    let (mut frames, mut heard) = (0, Timestamp::default());
    let mut owed = plan.machines;
    loop {
        let now = clock.now();
        if now.since(Timestamp::default()) >= plan.time {
            break;
        }
        let count = wire.rx.drain(BATCH, |back| owed += u32::from(back.len() == frame.len())) as u64;
        if count > 0 {
            heard = now;
        } else if now.since(heard) >= LOST_AFTER {
            (heard, owed) = (now, plan.machines);
        }
        effort.turn(now, count);
        frames += count;
        while owed > 0 && wire.tx.push(|into| copy(into, &frame)) {
            owed -= 1;
        }
        wire.tx.flush();
    }
    let seconds = clock.now().since(Timestamp::default()).as_secs_f64();
    let bytes = frames * (plan.len - OVERHEAD) as u64;
    let reflected = Some([frames as f64 / seconds, bytes as f64 / seconds]);
    let report = Report { seconds, bytes, reflected, ..Report::default() };
    Ok(effort.finish(clock.now(), wire.rx.statistics(), report))
}

/// The frame that goes to and fro: DATA of a machine, written once.
fn frame(plan: &Plan) -> Vec<u8> {
    let from = SocketAddrV4::new(address(0), PORT);
    let to = SocketAddrV4::new(plan.server, PORT);
    let mut frame = vec![0; FRAME_MAX];
    let body = vec![0; plan.len - OVERHEAD];
    let len =
        write_frame(&mut frame, Mac(mac(0)), &Link::untagged(plan.peer), from, to, &[0, 3, 0, 1], &body);
    frame.truncate(len);
    frame
}

/// Copies a frame to where it is sent from, and returns its length.
fn copy(into: &mut [u8], frame: &[u8]) -> usize {
    let Some(place) = into.get_mut(..frame.len()) else { return 0 };
    place.copy_from_slice(frame);
    frame.len()
}

/// The other end: attaches a program that answers by itself, says `ready`, and stays until standard input ends. A signal
/// ends the process as well, and with it the program's link. `file` is what the copying programs send.
///
/// # Errors
/// When the program cannot be attached.
pub fn reflector(interface: u32, program: Program, mode: Mode, file: Option<&Path>) -> Result<()> {
    let mut attached = match file {
        None => Attached::load(1)?,
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            // They know a block by the 16 bits of its number.
            ensure!(bytes.len() / BLKSIZE_MAX < usize::from(u16::MAX), "{} is too large", path.display());
            Attached::load_with(1, &bytes, BLKSIZE_MAX as u16)?
        }
    };
    attached.attach(program, interface, mode)?;
    println!("ready");
    let mut ignored = [0; 64];
    while std::io::stdin().read(&mut ignored)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pxe_proto::datagram::Datagram;

    #[test]
    fn a_frame_has_the_length_that_was_asked_for_and_carries_data() {
        for len in [OVERHEAD, 60, FRAME_MAX] {
            let plan = Plan {
                interface: 1,
                server: Ipv4Addr::new(10, 50, 0, 1),
                peer: Mac([0xff; 6]),
                len,
                machines: 1,
                time: Duration::ZERO,
            };
            let frame = frame(&plan);
            assert_eq!(frame.len(), len);
            let datagram = Datagram::parse(&frame).unwrap();
            assert_eq!((*datagram.to.ip(), datagram.payload.len()), (plan.server, len - OVERHEAD + 4));
        }
    }
}
