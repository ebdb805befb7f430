//! The generator's end of the cable: an AF_XDP socket that gets every frame.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result};
use pxe_kit::clock;
use pxe_nic::Queue;
use pxe_nic::programs::Mode;
use pxe_nic::xsk::{Rx, Sizes, Tx, Xsk};
use pxe_proto::datagram::{Link, write_frame};
use pxe_proto::mac::Mac;

use super::dhcp::{LEN_MAX, Template, mac};
use super::machine::{What, Word};
use super::manners::{Firmware, Kind, Manners};
use super::noise::{Suffered, Way};
use super::programs::{Attached, Program};
use super::script::{Item, Script, TFTP, address};

/// Ethernet, IPv4, UDP and the four bytes of DATA: what a frame has beside a file's bytes.
pub const OVERHEAD: usize = 46;
/// To every host of the segment.
const BROADCAST: Mac = Mac([0xff; 6]);
/// The largest frame of an MTU of 1500.
pub const FRAME_MAX: usize = 1514;

/// The kernel gives a queue back a moment after its last socket was closed.
const QUEUE_FREE: Duration = Duration::from_secs(10);

/// Both halves of the socket. The program is attached as long as this lives.
pub struct Wire {
    /// Frames from the server.
    pub rx: Rx,
    /// Frames to it.
    pub tx: Tx,
    /// Its programs.
    pub attached: Attached,
}

impl Wire {
    /// Takes all frames of an interface, by its index.
    ///
    /// # Errors
    /// When the interface cannot be had.
    pub fn open(interface: u32) -> Result<Self> {
        Self::open_with(interface, Program::TakeAll, Attached::load(1)?)
    }

    /// Takes the frames of an interface that a program leaves to the socket.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(interface: u32, program: Program, mut attached: Attached) -> Result<Self> {
        attached.attach(program, interface, Mode::Native)?;
        let sizes = Sizes { rx: 4096, tx: 4096, chunk: 2048 };
        let mut opened = None;
        clock::wait_until("the interface's queue is free", QUEUE_FREE, || {
            match Xsk::open(interface, Queue(0), Mode::Native, sizes) {
                Ok(xsk) => opened = Some(xsk),
                Err(error) if error.is_busy() => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            Ok(true)
        })?;
        let Xsk { rx, tx, .. } = opened.context("a socket")?;
        attached.connect(Queue(0), &rx).context("connecting the generator's socket")?;
        Ok(Self { rx, tx, attached })
    }
}

/// Says the machines' words.
pub struct Voice<'a> {
    tx: Tx,
    script: &'a Script,
    discover: [Template; 2],
    /// For each server.
    boot_server: Vec<[Template; 2]>,
    /// For each server, the Ethernet address of the next hop.
    peers: &'a [Mac],
    /// Least length of a TFTP frame, in bytes.
    pad: usize,
    /// Words that found no room.
    held: VecDeque<(u32, Word)>,
    way: Way<(u32, Word)>,
}

impl<'a> Voice<'a> {
    /// A voice that says this script's words; `way` is what happens to them.
    pub fn new(tx: Tx, script: &'a Script, peers: &'a [Mac], pad: usize, way: Way<(u32, Word)>) -> Self {
        let both = [Firmware::Ipxe, Firmware::Edk2];
        let boot_server = |server: &Ipv4Addr| both.map(|firmware| Template::boot_server(firmware, *server));
        Self {
            tx,
            script,
            discover: both.map(Template::discover),
            boot_server: script.servers.iter().map(boot_server).collect(),
            peers,
            pad: pad.min(FRAME_MAX),
            held: VecDeque::new(),
            way,
        }
    }

    /// A machine says a word, which goes its way.
    pub fn say(&mut self, index: u32, word: Word) {
        // Aside: who sends what arrives is a part of `self`, too.
        let mut way = std::mem::take(&mut self.way);
        way.carry(&(index, word), |&(index, word)| self.put(index, word));
        self.way = way;
    }

    /// What was held back goes now.
    pub fn catch_up(&mut self) {
        while let Some((index, word)) = self.way.overdue() {
            self.put(index, word);
        }
    }

    /// What happened to the machines' frames.
    pub fn suffered(&self) -> Suffered {
        self.way.suffered()
    }

    /// Sends a word, now or as soon as there is room.
    fn put(&mut self, index: u32, word: Word) {
        if !self.try_say(index, word) {
            self.held.push_back((index, word));
        }
    }

    fn try_say(&mut self, index: u32, word: Word) -> bool {
        let mut payload = [0; LEN_MAX];
        let len = self.compose(index, word, &mut payload);
        let payload = &payload[..len];
        let discover = matches!(word.what, What::Discover { .. });
        let (from, to) = match discover {
            true => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
            false => (address(index), self.script.address_of(word.server)),
        };
        let (from, to) = (SocketAddrV4::new(from, word.from), SocketAddrV4::new(to, word.to));
        let link = Link::untagged(if discover { BROADCAST } else { self.peer(word.server) });
        let pad = if matches!(word.to, 67 | 4011) { 0 } else { self.pad };
        self.tx.push(|frame| {
            padded(frame, pad, |frame| write_frame(frame, Mac(mac(index)), &link, from, to, &[], payload))
        })
    }

    /// A stranger asks for the boot file: the bytes that it takes, unless there is no room just now.
    pub fn ask_as(&mut self, from: SocketAddrV4) -> Option<usize> {
        let mut payload = [0; LEN_MAX];
        let len = copy(&mut payload, &[b"\0\x01", self.script.boot_file().as_bytes(), b"\0octet\0"]);
        let to = SocketAddrV4::new(self.script.address_of(0), TFTP);
        let (mac, link) = (Mac(mac(from.ip().to_bits())), Link::untagged(self.peer(0)));
        let pushed = self.tx.push(|frame| write_frame(frame, mac, &link, from, to, &[], &payload[..len]));
        pushed.then_some(len)
    }

    fn peer(&self, server: u8) -> Mac {
        self.peers.get(usize::from(server)).copied().unwrap_or(BROADCAST)
    }

    /// Writes a word's payload and returns its length.
    fn compose(&self, index: u32, word: Word, into: &mut [u8; LEN_MAX]) -> usize {
        let kind = self.script.kind(index);
        let firmware = kind.firmware() as usize;
        match word.what {
            What::Discover { xid } => self.discover[firmware].write(index, address(index), xid, into),
            What::BootServer { xid } => {
                let Some(templates) = self.boot_server.get(usize::from(word.server)) else { return 0 };
                templates[firmware].write(index, address(index), xid, into)
            }
            What::Request { item, probe } => self.request(index, kind, item, probe, into),
            What::Ack(block) => {
                let [high, low] = block.to_be_bytes();
                copy(into, &[&[0, 4, high, low]])
            }
            What::Abort => copy(into, &[b"\0\x05\0\x08User aborted the transfer\0"]),
        }
    }

    fn request(&self, index: u32, kind: Kind, item: u16, probe: bool, into: &mut [u8; LEN_MAX]) -> usize {
        let Manners { request, probe: sizing, .. } = self.script.manners(kind);
        let options = sizing.as_ref().filter(|_| probe).unwrap_or(request);
        match self.script.items.get(usize::from(item)) {
            Some(Item::File { name, .. }) => copy(into, &[b"\0\x01", name.as_bytes(), b"\0", options]),
            Some(Item::Miss(number)) => {
                let mut name = [0; 64];
                let len = look_up(index, *number, &mut name);
                copy(into, &[b"\0\x01", &name[..len], b"\0", options])
            }
            None => 0,
        }
    }

    /// Sends what has been said.
    pub fn flush(&mut self) {
        for _ in 0..self.held.len() {
            let Some((index, word)) = self.held.pop_front() else { break };
            self.put(index, word);
        }
        self.tx.flush();
    }
}

/// Zeros behind a frame up to `len` bytes.
pub fn padded(frame: &mut [u8], len: usize, write: impl FnOnce(&mut [u8]) -> usize) -> usize {
    let written = write(frame);
    if written == 0 || written >= len {
        return written;
    }
    let len = len.min(frame.len());
    frame[written..len].fill(0);
    len
}

/// Joins the parts; what does not fit makes it 0.
fn copy(into: &mut [u8; LEN_MAX], parts: &[&[u8]]) -> usize {
    let mut at = 0;
    for part in parts {
        let Some(place) = into.get_mut(at..at + part.len()) else { return 0 };
        place.copy_from_slice(part);
        at += part.len();
    }
    at
}

/// The name of a machine's n-th look-up as PXELINUX makes it: UUID, hardware address, then its address in hexadecimal,
/// shorter each time. What would be `default` may exist, so names of nothing follow.
fn look_up(index: u32, number: u16, into: &mut [u8; 64]) -> usize {
    use std::io::Write as _;
    let [a, b, c, d] = index.to_be_bytes();
    let mut rest = &mut into[..];
    let written = match number {
        0 => write!(rest, "pxelinux.cfg/c0ffee00-0099-4000-8000-0000{index:08x}"),
        1 => write!(rest, "pxelinux.cfg/01-02-00-{a:02x}-{b:02x}-{c:02x}-{d:02x}"),
        2..=9 => {
            let address = address(index).to_bits();
            write!(
                rest,
                "pxelinux.cfg/{:0width$X}",
                address >> (4 * (number - 2)),
                width = usize::from(10 - number)
            )
        }
        _ => write!(rest, "pxelinux.cfg/none-{number}"),
    };
    let left = rest.len();
    if written.is_ok() { into.len() - left } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_have_the_names_that_pxelinux_makes() {
        let name = |number| {
            let mut name = [0; 64];
            let len = look_up(0x1234, number, &mut name);
            String::from_utf8(name[..len].to_vec()).unwrap()
        };
        // 10.50.1.0 and 0x1234 machines on.
        assert_eq!(name(0), "pxelinux.cfg/c0ffee00-0099-4000-8000-000000001234");
        assert_eq!(name(1), "pxelinux.cfg/01-02-00-00-00-12-34");
        assert_eq!(name(2), "pxelinux.cfg/0A321334");
        assert_eq!(name(3), "pxelinux.cfg/0A32133");
        assert_eq!(name(9), "pxelinux.cfg/0");
        assert_eq!(name(10), "pxelinux.cfg/none-10");
    }

    #[test]
    fn a_short_frame_is_padded_with_zeros_and_a_long_one_stays() {
        let mut frame = [0xff; 100];
        assert_eq!(padded(&mut frame, 60, |_| 42), 60);
        assert!(frame[42..60].iter().all(|byte| *byte == 0) && frame[60] == 0xff && frame[41] == 0xff);
        assert_eq!(padded(&mut frame, 60, |_| 80), 80);
        assert_eq!(padded(&mut frame, 1000, |_| 80), 100);
        assert_eq!(padded(&mut frame, 60, |_| 0), 0, "what was not written is not sent");
    }

    #[test]
    fn a_payload_that_does_not_fit_is_not_said() {
        let mut into = [0; LEN_MAX];
        assert_eq!(copy(&mut into, &[b"ab", b"c"]), 3);
        assert_eq!(&into[..3], b"abc");
        assert_eq!(copy(&mut into, &[&[0; LEN_MAX], b"c"]), 0);
    }
}
