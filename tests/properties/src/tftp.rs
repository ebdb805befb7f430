//! TFTP packets: writing and parsing again gives the same packet, and only requested options are granted.

use pxe_content::boot::FileName;
use pxe_proto::tftp::Block;
use pxe_proto::tftp::negotiation::{NegotiatedOptions, OptionLimits};
use pxe_proto::tftp::packet::{
    BLKSIZE_RANGE, CONTROL_MAX, Control, ErrorCode, Mode, Packet, Request, data_header,
};

/// Takes any bytes as a packet.
pub fn check(input: &[u8]) {
    match Packet::parse(input) {
        Ok(Packet::Read(request)) => check_request(1, &request),
        Ok(Packet::Write(request)) => check_request(2, &request),
        Ok(Packet::Data(block, bytes)) => {
            let header = data_header(Block(u64::from(block)));
            assert_eq!([&header, bytes].concat(), input, "DATA");
        }
        Ok(Packet::Ack(block)) => {
            let ack = Control::ack(Block(u64::from(block)));
            assert_eq!(ack.as_bytes(), &input[..4], "ACK");
        }
        Ok(Packet::Error(code)) => check_error(code, input),
        Ok(Packet::FromServer) | Err(_) => {}
    }
}

fn check_error(code: ErrorCode, input: &[u8]) {
    let text = String::from_utf8_lossy(&input[4..]);
    let error = Control::error(code, &text);
    assert!(error.as_bytes().len() <= CONTROL_MAX && error.as_bytes().ends_with(&[0]));
    assert_eq!(Packet::parse(error.as_bytes()), Ok(Packet::Error(code)));
}

fn check_request(opcode: u8, request: &Request<'_>) {
    assert!(!request.filename.is_empty() && !request.filename.contains(&0));
    assert!(request.options.blksize.is_none_or(|size| BLKSIZE_RANGE.contains(&size)));
    assert!(request.options.timeout != Some(0) && request.options.windowsize != Some(0));
    assert!(request.options.tsize || request.size.is_none());
    let again = written(opcode, request);
    match (opcode, Packet::parse(&again)) {
        (1, Ok(Packet::Read(read))) | (2, Ok(Packet::Write(read))) => assert_eq!(read, *request),
        (_, other) => panic!("{request:?} became {other:?}"),
    }
    check_terms(request);
    if let Ok(name) = FileName::normalise(request.filename) {
        // A path out of the tree does not become a name, and normalising a name does not change it.
        let mut parts = name.as_bytes().split(|byte| *byte == b'/');
        assert!(parts.all(|part| !matches!(part, b"" | b"." | b"..")), "{name}");
        assert_eq!(FileName::normalise(name.as_bytes()), Ok(name));
    }
}

/// Writes a request's packet, with its options in another order.
fn written(opcode: u8, request: &Request<'_>) -> Vec<u8> {
    let mode = match request.mode {
        Mode::Octet => "octet",
        Mode::Netascii => "netascii",
        Mode::Other => "mail",
    };
    let mut packet = [&[0, opcode], request.filename, &[0], mode.as_bytes(), &[0]].concat();
    let mut option = |name: &str, value: String| packet.extend(format!("{name}\0{value}\0").bytes());
    let asked = request.options;
    asked.windowsize.into_iter().for_each(|value| option("windowsize", value.to_string()));
    asked.timeout.into_iter().for_each(|value| option("TIMEOUT", value.to_string()));
    asked.blksize.into_iter().for_each(|value| option("blksize", value.to_string()));
    if asked.tsize {
        // A value that is no number is parsed as no size.
        option("tsize", request.size.map_or_else(|| "?".to_owned(), |size| size.to_string()));
    }
    packet
}

/// RFC 2347: an OACK contains only requested options, with at most the requested values. The parser of requests reads
/// them back.
fn check_terms(request: &Request<'_>) {
    const SIZE: u64 = 145_408;
    let limits = OptionLimits::for_mtu(1500, 64);
    let (asked, granted) =
        (request.options, NegotiatedOptions::grant(&request.options, &limits).granted(SIZE));
    let oack = Control::oack(&granted);
    let options = oack.as_bytes().strip_prefix(&[0, 6]).expect("an OACK");
    assert_eq!(Packet::parse(oack.as_bytes()), Ok(Packet::FromServer));
    let as_request = [b"\0\x01f\0octet\0", options].concat();
    let Ok(Packet::Read(read)) = Packet::parse(&as_request) else { panic!("the OACK is invalid") };
    assert_eq!(read.size, asked.tsize.then_some(SIZE));
    let read = read.options;
    assert_eq!((read.blksize, read.windowsize), (granted.blksize, granted.windowsize));
    assert_eq!((read.timeout, read.tsize), (asked.timeout, asked.tsize));
    assert!(read.blksize.is_none_or(|size| size <= limits.blksize && Some(size) <= asked.blksize));
    assert!(read.windowsize.is_none_or(|size| size <= limits.windowsize && Some(size) <= asked.windowsize));
}
