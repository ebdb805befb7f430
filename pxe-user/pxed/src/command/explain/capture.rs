//! Reads captures (pcap and pcapng files) packet by packet. All bytes in them come from a network, and the file itself may be cut
//! off or damaged.
//!
//! This module uses only the framing of the crate `pcap-file`. Its packet parser rejects a whole capture for invalid times, and
//! for original lengths above the snap length, which `tcpdump -s` writes all the time.

use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::{PcapNgParser, RawBlock};
use pcap_file::{DataLink, Endianness, PcapError};

/// Types of the pcapng blocks that hold packets (draft-ietf-opsawg-pcapng sections 4.3 and 4.4).
const ENHANCED_PACKET: u32 = 6;
const SIMPLE_PACKET: u32 = 3;
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Why the file cannot be read further.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaptureError {
    /// The file is neither pcap nor pcapng.
    #[error("this is no capture that can be read (pcap or pcapng, as tcpdump and Wireshark write them): {0}")]
    Kind(PcapError),
    /// The capture was not recorded on Ethernet.
    #[error(
        "this capture was not made on Ethernet ({0:?}): capture on the network interface itself, not on `any`"
    )]
    Link(DataLink),
    /// A packet is damaged or cut off.
    #[error("packet {number} is damaged: {reason}; the packets before it are explained")]
    Packet {
        /// The packet's number, from 1.
        number: u64,
        /// What is wrong with the packet.
        reason: String,
    },
}

/// Calls `each` for every Ethernet frame with its number, from 1, as other tools count packets.
///
/// # Errors
/// [`CaptureError`]. `each` has been called for all frames before the error.
pub(super) fn frames(file: &[u8], each: impl FnMut(u64, &[u8])) -> Result<(), CaptureError> {
    if file.starts_with(&SECTION_HEADER) { pcapng(file, each) } else { pcap(file, each) }
}

fn pcap(file: &[u8], mut each: impl FnMut(u64, &[u8])) -> Result<(), CaptureError> {
    let (mut rest, parser) = PcapParser::new(file).map_err(CaptureError::Kind)?;
    if parser.header().datalink != DataLink::ETHERNET {
        return Err(CaptureError::Link(parser.header().datalink));
    }
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let (after, packet) = parser.next_raw_packet(rest).map_err(|error| damaged(number, &error))?;
        each(number, &packet.data);
        rest = after;
    }
    Ok(())
}

fn pcapng(file: &[u8], mut each: impl FnMut(u64, &[u8])) -> Result<(), CaptureError> {
    let (mut rest, mut parser) = PcapNgParser::new(file).map_err(CaptureError::Kind)?;
    let mut number = 0;
    while !rest.is_empty() {
        let (after, block) = parser.next_raw_block(rest).map_err(|error| damaged(number + 1, &error))?;
        rest = after;
        if !matches!(block.type_, ENHANCED_PACKET | SIMPLE_PACKET) {
            continue;
        }
        number += 1;
        let (interface, frame) = packet(&block, parser.section().endianness)
            .ok_or_else(|| damaged(number, &PcapError::IncompleteBuffer))?;
        let link = parser.interfaces().get(interface as usize).map(|interface| interface.linktype);
        match link {
            Some(DataLink::ETHERNET) => each(number, frame),
            Some(link) => return Err(CaptureError::Link(link)),
            None => return Err(damaged(number, &PcapError::InvalidInterfaceId(interface))),
        }
    }
    Ok(())
}

/// The interface and the frame of a packet. A simple packet belongs to the first interface. Its frame is as long as its length
/// field says, or ends with the block.
fn packet<'b>(block: &'b RawBlock<'_>, endianness: Endianness) -> Option<(u32, &'b [u8])> {
    let word = |at: usize| {
        let bytes = *block.body.get(at..)?.first_chunk()?;
        Some(match endianness {
            Endianness::Big => u32::from_be_bytes(bytes),
            Endianness::Little => u32::from_le_bytes(bytes),
        })
    };
    if block.type_ == ENHANCED_PACKET {
        let len = usize::try_from(word(12)?).ok()?;
        return Some((word(0)?, block.body.get(20..)?.get(..len)?));
    }
    let (len, data) = (usize::try_from(word(0)?).ok()?, block.body.get(4..)?);
    Some((0, data.get(..len).unwrap_or(data)))
}

fn damaged(number: u64, error: &PcapError) -> CaptureError {
    let reason = match error {
        PcapError::IncompleteBuffer => "it is cut off".to_owned(),
        other => other.to_string(),
    };
    CaptureError::Packet { number, reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAMES: [&[u8]; 2] = [b"first frame", b"second"];

    /// A classic pcap file. The packets' original length (200 bytes) is above the snap length (11 bytes).
    fn classic() -> Vec<u8> {
        let mut file =
            vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 1, 0, 0, 0];
        for frame in FRAMES {
            file.extend([1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
            file.extend([u8::try_from(frame.len()).unwrap(), 0, 0, 0, 200, 0, 0, 0]);
            file.extend_from_slice(frame);
        }
        file
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let body = [body, &[0; 3][..(4 - body.len() % 4) % 4]].concat();
        let len = u32::try_from(body.len() + 12).unwrap().to_be_bytes();
        [&kind.to_be_bytes()[..], &len, &body, &len].concat()
    }

    /// The same frames as pcapng, big-endian: a section, an interface, an enhanced packet, an unknown block and a simple packet.
    fn next_generation() -> Vec<u8> {
        let enhanced = |frame: &[u8]| {
            let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
            [&[0; 12][..], &len, &len, frame].concat()
        };
        let len = u32::try_from(FRAMES[1].len()).unwrap().to_be_bytes();
        [
            block(0x0a0d_0d0a, &[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
            block(1, &[0, 1, 0, 0, 0, 0, 0, 0]),
            block(ENHANCED_PACKET, &enhanced(FRAMES[0])),
            block(4, &[1, 2, 3]),
            block(SIMPLE_PACKET, &[&len, FRAMES[1]].concat()),
        ]
        .concat()
    }

    type Numbered = Vec<(u64, Vec<u8>)>;

    fn read(file: &[u8]) -> (Numbered, Result<(), String>) {
        let mut seen = Vec::new();
        let result = frames(file, |number, frame| seen.push((number, frame.to_vec())));
        (seen, result.map_err(|error| error.to_string()))
    }

    #[test]
    fn both_kinds_are_read_to_the_end() {
        for file in [classic(), next_generation()] {
            let expected = vec![(1, FRAMES[0].to_vec()), (2, FRAMES[1].to_vec())];
            assert_eq!(read(&file), (expected, Ok(())));
        }
    }

    #[test]
    fn damage_is_said_with_the_packets_number() {
        for file in [classic(), next_generation()] {
            let (seen, result) = read(&file[..file.len() - 1]);
            assert_eq!(seen.len(), 1);
            let error = result.unwrap_err();
            assert!(error.contains("packet 2 is damaged: it is cut off"), "{error}");
        }
        assert!(read(b"GIF89a").1.unwrap_err().contains("no capture"));
        let mut cooked = classic();
        cooked[20] = 113;
        assert!(read(&cooked).1.unwrap_err().contains("not made on Ethernet"));
    }

    proptest! {
        #[test]
        fn damaged_captures_are_survived(
            which in any::<bool>(), at in 0usize..200, value in any::<u8>(), cut in 0usize..250,
        ) {
            let mut file = if which { classic() } else { next_generation() };
            if let Some(byte) = file.get_mut(at) {
                *byte = value;
            }
            file.truncate(cut.max(4));
            let _ = read(&file);
        }

        #[test]
        fn any_bytes_are_survived(
            which in any::<bool>(), rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let head = if which { classic()[..24].to_vec() } else { next_generation()[..48].to_vec() };
            let _ = read(&[head, rest].concat());
        }
    }
}
