//! Packets byte by byte, and the hostile packets of clients.md, section 5.

use proptest::prelude::*;

use super::super::Block;
use super::*;

fn rrq(bytes: &[u8]) -> Vec<u8> {
    [&[0, 1], bytes].concat()
}

fn options(bytes: &[u8]) -> RequestedOptions {
    match Packet::parse(&rrq(&[b"f\0octet\0", bytes].concat())) {
        Ok(Packet::Read(request)) => request.options,
        other => panic!("{other:?}"),
    }
}

/// The requests of real firmware (clients.md, section 2).
#[test]
fn requests_of_real_clients() {
    let ipxe = options(b"blksize\x001432\0tsize\x000\0");
    assert_eq!(ipxe, RequestedOptions { blksize: Some(1432), tsize: true, ..RequestedOptions::default() });
    let edk2 = options(b"tsize\x000\0blksize\x001468\0windowsize\x004\0");
    assert_eq!(
        edk2,
        RequestedOptions {
            blksize: Some(1468),
            tsize: true,
            windowsize: Some(4),
            ..RequestedOptions::default()
        }
    );
    let u_boot = options(b"timeout\x005\0tsize\x000\0blksize\x001468\0windowsize\x0016\0");
    assert_eq!((u_boot.timeout, u_boot.windowsize), (Some(5), Some(16)));
    assert_eq!(options(b""), RequestedOptions::default());
}

#[test]
fn names_are_bytes_and_modes_have_no_case() {
    let parse = |mode: &str| match Packet::parse(&rrq(&[b"\\a\xff\0", mode.as_bytes(), b"\0"].concat())) {
        Ok(Packet::Read(request)) => (request.filename.to_vec(), request.mode),
        other => panic!("{other:?}"),
    };
    for (text, mode) in [
        ("octet", Mode::Octet),
        ("OCTET", Mode::Octet),
        ("OcTeT", Mode::Octet),
        ("netascii", Mode::Netascii),
        ("NetASCII", Mode::Netascii),
        ("mail", Mode::Other),
        ("octets", Mode::Other),
        ("octe", Mode::Other),
    ] {
        assert_eq!(parse(text), (b"\\a\xff".to_vec(), mode), "{text}");
    }
}

/// CVE-2009-2958.
#[test]
fn section_5_line_1_short_unterminated_and_empty_requests() {
    for (bytes, reason) in [
        (&b""[..], Malformed::Short),
        (b"\0", Malformed::Short),
        (b"\0\x01", Malformed::Unterminated),
        (b"\0\x01f", Malformed::Unterminated),
        (b"\0\x01f\0", Malformed::Unterminated),
        (b"\0\x01f\0octet", Malformed::Unterminated),
        (b"\0\x01\0octet\0", Malformed::Empty),
        (b"\0\x01f\0\0", Malformed::Empty),
        (b"\0\x01\0\0", Malformed::Empty),
    ] {
        assert_eq!(Packet::parse(bytes), Err(reason), "{bytes:?}");
    }
}

/// CVE-2009-2957.
#[test]
fn section_5_line_2_a_very_long_name() {
    let name = vec![b'a'; 60_000];
    let packet = rrq(&[&name[..], b"\0octet\0"].concat());
    let Ok(Packet::Read(request)) = Packet::parse(&packet) else { panic!("not read") };
    assert_eq!(request.filename, name);
    assert_eq!(Packet::parse(&rrq(&name)), Err(Malformed::Unterminated));
}

/// CVE-2019-11365.
#[test]
fn section_5_line_3_errors_too_short_or_huge_without_nul() {
    assert_eq!(Packet::parse(b"\0\x05"), Err(Malformed::Short));
    assert_eq!(Packet::parse(b"\0\x05\0"), Err(Malformed::Short));
    assert_eq!(Packet::parse(b"\0\x05\0\x08"), Ok(Packet::Error(ErrorCode::OPTIONS)));
    let huge = [&b"\0\x05\xff\xff"[..], &[b'x'; 60_000]].concat();
    assert_eq!(Packet::parse(&huge), Ok(Packet::Error(ErrorCode(65535))));
}

#[test]
fn section_5_line_4_values_that_are_huge_negative_or_no_numbers() {
    for value in ["", " ", "-1", "+1", "1.5", "0x200", "512 ", " 512", "1e3", "99999999999999999999", "five"]
    {
        for name in ["blksize", "timeout", "windowsize"] {
            let requested = options(format!("{name}\0{value}\0").as_bytes());
            assert_eq!(requested, RequestedOptions::default(), "{name} = {value:?}");
        }
        // RFC 2349: the value of tsize has no meaning in an RRQ.
        assert!(options(format!("tsize\0{value}\0").as_bytes()).tsize);
    }
    assert_eq!(options(b"blksize\x0018446744073709551615\0").blksize, Some(65464));
    assert_eq!(options(b"blksize\x0000000000000000000001024\0").blksize, Some(1024));
}

/// CVE-2021-41054 and CVE-2021-46671.
#[test]
fn section_5_line_5_many_duplicate_and_odd_options() {
    assert_eq!(options(b"blksize\x001024\0blksize\x002048\0").blksize, Some(1024));
    assert_eq!(options(b"BLKSIZE\x001024\0BlkSize\x002048\0").blksize, Some(1024));
    for odd in
        [&b"blksize\x001024\0windowsize\0"[..], b"blksize\x001024\0windowsize\x004", b"blksize\x001024\0w"]
    {
        assert_eq!(options(odd), RequestedOptions { blksize: Some(1024), ..RequestedOptions::default() });
    }
    let mut many = b"x\0y\0".repeat(5000);
    many.extend(b"windowsize\x004\0".repeat(2000));
    assert_eq!(options(&many), RequestedOptions { windowsize: Some(4), ..RequestedOptions::default() });
    // The largest possible OACK fits.
    let most = OackOptions {
        blksize: Some(65464),
        tsize: Some(u64::MAX),
        timeout: Some(255),
        windowsize: Some(65535),
    };
    let oack = Control::oack(&most);
    assert!(oack.as_bytes().len() < CONTROL_MAX);
    assert_eq!(
        oack.as_bytes(),
        b"\0\x06tsize\x0018446744073709551615\0blksize\x0065464\0timeout\x00255\0windowsize\x0065535\0"
            .as_slice()
    );
}

#[test]
fn section_5_line_6_multicast_is_not_known() {
    assert_eq!(
        options(b"multicast\0\0tsize\x000\0"),
        RequestedOptions { tsize: true, ..RequestedOptions::default() }
    );
}

#[test]
fn section_5_line_14_values_at_the_edges() {
    for (name, value, requested) in [
        ("blksize", "1", RequestedOptions::default()),
        ("blksize", "7", RequestedOptions::default()),
        ("blksize", "8", RequestedOptions { blksize: Some(8), ..RequestedOptions::default() }),
        ("blksize", "65464", RequestedOptions { blksize: Some(65464), ..RequestedOptions::default() }),
        ("blksize", "65465", RequestedOptions { blksize: Some(65464), ..RequestedOptions::default() }),
        ("windowsize", "0", RequestedOptions::default()),
        ("windowsize", "1", RequestedOptions { windowsize: Some(1), ..RequestedOptions::default() }),
        ("windowsize", "65535", RequestedOptions { windowsize: Some(65535), ..RequestedOptions::default() }),
        ("windowsize", "65536", RequestedOptions::default()),
        ("timeout", "0", RequestedOptions::default()),
        ("timeout", "1", RequestedOptions { timeout: Some(1), ..RequestedOptions::default() }),
        ("timeout", "255", RequestedOptions { timeout: Some(255), ..RequestedOptions::default() }),
        ("timeout", "256", RequestedOptions::default()),
    ] {
        assert_eq!(options(format!("{name}\0{value}\0").as_bytes()), requested, "{name} = {value}");
    }
}

#[test]
fn section_5_line_15_writes_and_strange_opcodes() {
    let written =
        |size: &str| match Packet::parse(&[b"\0\x02f\0octet\0tsize\0", size.as_bytes(), b"\0"].concat()) {
            Ok(Packet::Write(request)) => {
                (request.filename.to_vec(), request.mode, request.options.tsize, request.size)
            }
            other => panic!("{other:?}"),
        };
    for (text, size) in [("0", Some(0)), ("18446744073709551615", Some(u64::MAX)), ("-1", None), ("", None)] {
        assert_eq!(written(text), (b"f".to_vec(), Mode::Octet, true, size), "{text}");
    }
    assert_eq!(written("7\0tsize\08").3, Some(7), "the first one counts");
    assert_eq!(Packet::parse(b"\0\x02f\0octet"), Err(Malformed::Unterminated));
    for opcode in [0u16, 7, 8, 255, 256, 0x0100, 0xffff] {
        let bytes = [&opcode.to_be_bytes()[..], b"f\0octet\0"].concat();
        assert_eq!(Packet::parse(&bytes), Err(Malformed::Opcode), "{opcode}");
    }
    assert_eq!(Packet::parse(b"\0\x03\0\x01data"), Ok(Packet::Data(1, b"data")));
    assert_eq!(Packet::parse(b"\0\x03\xff\xff"), Ok(Packet::Data(65535, b"")));
    assert_eq!(Packet::parse(b"\0\x03\0"), Err(Malformed::Short));
    assert_eq!(Packet::parse(b"\0\x06blksize\x008\0"), Ok(Packet::FromServer));
}

#[test]
fn acks_may_be_padded_but_not_cut() {
    assert_eq!(Packet::parse(b"\0\x04\x12\x34"), Ok(Packet::Ack(0x1234)));
    assert_eq!(Packet::parse(b"\0\x04\x12\x34padding"), Ok(Packet::Ack(0x1234)));
    assert_eq!(Packet::parse(b"\0\x04\x12"), Err(Malformed::Short));
    assert_eq!(Packet::parse(b"\0\x04"), Err(Malformed::Short));
}

#[test]
fn section_5_line_11_error_texts_are_cut_but_terminated() {
    let error = Control::error(ErrorCode::NOT_FOUND, &"x".repeat(1000));
    assert_eq!(error.as_bytes().len(), CONTROL_MAX);
    assert_eq!(error.as_bytes().last(), Some(&0));
    assert_eq!(Control::ack(Block(65537)).as_bytes(), b"\0\x04\0\x01");
    assert_eq!(Control::error(ErrorCode::DENIED, "no").as_bytes(), b"\0\x05\0\x02no\0");
}

#[test]
fn section_6_line_29_the_number_wraps_to_0() {
    assert_eq!(data_header(Block(1)), [0, 3, 0, 1]);
    assert_eq!(data_header(Block(65535)), [0, 3, 0xff, 0xff]);
    assert_eq!(data_header(Block(65536)), [0, 3, 0, 0]);
    assert_eq!(Block(65535).at_or_after(0), Block(65536));
    assert_eq!(Block(65536).at_or_after(0), Block(65536));
    assert_eq!(Block(70_000).at_or_after(Block(70_003).wire()), Block(70_003));
}

proptest! {
    /// No input makes the parser panic.
    #[test]
    fn any_bytes_are_a_packet_or_malformed(opcode in 0u16..8, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Packet::parse(&bytes);
        let _ = Packet::parse(&[&opcode.to_be_bytes()[..], &bytes].concat());
    }

    /// Requests from relevant words, joined and cut at random: no option has a value outside its range.
    #[test]
    fn options_are_within_their_ranges(
        words in prop::collection::vec(
            prop::sample::select(vec!["blksize", "tsize", "timeout", "windowsize", "0", "7", "8", "65465", "70000", "", "x"]),
            0..40,
        ),
        cut in 0usize..200,
    ) {
        let mut bytes = words.join("\0").into_bytes();
        bytes.truncate(cut);
        let requested = options(&bytes);
        prop_assert!(requested.blksize.is_none_or(|value| BLKSIZE_RANGE.contains(&value)));
        prop_assert!(requested.timeout != Some(0) && requested.windowsize != Some(0));
    }

    /// A parsed OACK has the options that were granted.
    #[test]
    fn an_oack_is_read_as_it_was_meant(
        blksize in prop::option::of(8u16..=65464),
        tsize in prop::option::of(any::<u64>()),
        timeout in prop::option::of(1u8..),
        windowsize in prop::option::of(1u16..),
    ) {
        let oack = Control::oack(&OackOptions { blksize, tsize, timeout, windowsize });
        let bytes = oack.as_bytes();
        prop_assert_eq!(&bytes[..2], &[0, 6]);
        let requested = options(&bytes[2..]);
        prop_assert_eq!(requested, RequestedOptions { blksize, tsize: tsize.is_some(), timeout, windowsize });
        if let Some(tsize) = tsize {
            let text = format!("tsize\0{tsize}\0");
            prop_assert!(bytes.windows(text.len()).any(|part| part == text.as_bytes()));
        }
    }
}
