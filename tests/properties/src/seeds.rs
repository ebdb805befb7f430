//! The seeds of the search: packets of real firmware, and inputs that the parsers of each property accept.

use std::fs;
use std::path::{Path, PathBuf};

use crate::verdicts;

/// Inputs with their names.
type Seeds = Vec<(String, Vec<u8>)>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> Vec<u8> {
    fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn named(seeds: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Seeds {
    seeds
        .into_iter()
        .map(|(name, bytes)| (name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), bytes))
        .collect()
}

/// Frames of every kind that the classifier distinguishes, including those of real firmware.
pub(super) fn frames() -> Seeds {
    named(verdicts::named_frames().into_iter().map(|(name, frame, _)| (name, frame)))
}

/// Recorded DHCP messages, for each port and service.
pub(super) fn dhcp() -> Seeds {
    let folder = root().join("tests/packets/dhcp");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let packets = files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "bin"));
    let seeds = packets.flat_map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let packet = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // The last byte selects port and service, see `dhcp::check`.
        [0, 1, 2, 3, 4, 6, 18]
            .map(move |choice| (format!("{name}-{choice}"), [&packet[..], &[choice]].concat()))
    });
    seeds.collect()
}

/// Requests of real clients (`docs/clients.md`, section 2), and one packet of each kind.
pub(super) fn tftp() -> Seeds {
    named([
        ("ipxe", b"\0\x01boot.ipxe\0octet\0blksize\x001432\0tsize\x000\0".to_vec()),
        ("edk2", b"\0\x01memtest86+x64.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0".to_vec()),
        (
            "u-boot",
            b"\0\x01a/b\0octet\0timeout\x005\0tsize\x000\0blksize\x001468\0windowsize\x0016\0".to_vec(),
        ),
        ("windows", b"\0\x01\\boot\\bcd\0OCTET\0tsize\x000\0blksize\x001456\0".to_vec()),
        ("netascii", b"\0\x01f\0netascii\0".to_vec()),
        ("write", b"\0\x02dump\0octet\0tsize\x00100\0blksize\x00512\0".to_vec()),
        ("data", b"\0\x03\0\x01bytes".to_vec()),
        ("ack", b"\0\x04\0\x01".to_vec()),
        ("error", b"\0\x05\0\x08User aborted\0".to_vec()),
        ("oack", b"\0\x06tsize\x00145408\0".to_vec()),
    ])
}

/// The example with every key, and short configurations.
pub(super) fn configurations() -> Seeds {
    named([
        ("every-key", read("docs/pxed.toml")),
        ("one-interface", b"interfaces = [\"eth0\"]\n".to_vec()),
        ("a-rule", b"[images.memtest]\n[[rules]]\nmatch = { vlan = 12, mac = \"52:54:00:*\" }\nimage = \"memtest\"\nonce = true\n".to_vec()),
    ])
}

/// Lines of memtest86+ (memtest86plus pull request 640).
pub(super) fn console_lines() -> Seeds {
    named([
        ("start", b"MTLOG ts=0.0 ev=start version=9.00 arch=x64\r".to_vec()),
        (
            "info",
            b"MTLOG ts=6.4 ev=info board=\"ASUSTeK COMPUTER INC. ROG STRIX Z790-E\" mem_mb=32550\r".to_vec(),
        ),
        (
            "tick",
            b"<13>1 rack3 - MTLOG ts=7.0 ev=tick pass=0 pass_pct=12 test=3 test_pct=40 errors=0\r".to_vec(),
        ),
        (
            "error",
            b"MTLOG ts=9.1 ev=error type=data test=3 cpu=2 addr=0x12345678 expect=0xff actual=0xfe\r"
                .to_vec(),
        ),
        ("done", b"\x1b[0mMTLOG ts=99.9 ev=done passes=1 status=fail\r".to_vec()),
    ])
}

/// Reports with all fields.
pub(super) fn reports() -> Seeds {
    named([
        (
            "start",
            br#"{"stage":"start","source":"pxed","serial":"SN1","memory":4294967296,"cpus":4}"#.to_vec(),
        ),
        (
            "error",
            br#"{"stage":"error","seconds":9,"percent":40,"error_count":2,"corrected":1,"uncorrected":0,
            "errors":[{"address":"0x1000","expected":"0xff","actual":"0xfe","cpu":2},{}],"message":"bad"}"#
                .to_vec(),
        ),
        ("done", br#"{"stage":"done","pass":true,"smbios":"AAECAwQ="}"#.to_vec()),
    ])
}

/// A table with two memory modules and their address ranges.
pub(super) fn smbios() -> Seeds {
    let structure = |kind: u8, handle: u8, body: &[u8], strings: &[u8]| {
        [&[kind, body.len() as u8 + 4, handle, 0], body, strings, &[0, 0]].concat()
    };
    let device = |handle: u8| {
        let mut body = [0; 0x1c - 4];
        // The array, 8 GiB, the label, DDR4, 3200 MT/s, and the strings of manufacturer, serial and part number.
        body[0] = 0x10;
        (body[8], body[9]) = (0, 0x20);
        body[0x0c] = 1;
        body[0x0e] = 0x1a;
        (body[0x11], body[0x12]) = (0x80, 0x0c);
        (body[0x13], body[0x14], body[0x16]) = (2, 3, 4);
        structure(17, handle, &body, b"DIMM A1\0Samsung\0S1234\0M378")
    };
    let range = |device: u8, from: u32, to: u32| {
        let body = [&from.to_le_bytes()[..], &to.to_le_bytes(), &[device, 0, 0x20, 0, 1, 0, 0]].concat();
        structure(20, 0x30 + device, &body, b"")
    };
    let end = structure(127, 0xff, b"", b"");
    let modules = [device(1), device(2), range(1, 0, 0x7f_ffff), range(2, 0x80_0000, 0xff_ffff), end.clone()];
    named([("two-modules", modules.concat()), ("nothing", end)])
}

/// Scripts of correct and of faulty clients. `transfers::check` defines the steps.
pub(super) fn transfers() -> Seeds {
    let (plain, blocks, windows) = (0, 4, 28);
    let ask = |client: u8, how: u8| vec![0, client, how];
    let load = |image: u8| vec![4, image];
    let acks = |client: u8, count: usize| [2, client, 0].repeat(count);
    let wait = |which: u8| vec![5, which];
    named([
        ("lock-step", [ask(0, plain), load(2), acks(0, 10)].concat()),
        ("with-options", [ask(0, blocks), load(3), acks(0, 22)].concat()),
        ("in-windows", [ask(0, windows), load(3), acks(0, 8)].concat()),
        ("by-the-kernel", [vec![10], ask(0, windows), load(3), acks(0, 8)].concat()),
        ("of-no-bytes", [ask(1, blocks), load(0), acks(1, 2)].concat()),
        ("not-there", [ask(1, plain), load(4)].concat()),
        ("silence", [ask(0, windows), load(3), acks(0, 2), wait(7), acks(0, 3), wait(7), wait(7)].concat()),
        ("a-size-only", [ask(2, 36), load(3), vec![6, 2, 3]].concat()),
        (
            "more-than-there-is-room-for",
            [0, 1, 2, 3, 4, 0, 1].map(|c| [ask(c, blocks), load(1), wait(4)].concat()).concat(),
        ),
        (
            "again-from-the-same-port",
            [ask(0, plain), load(2), acks(0, 3), ask(0, blocks), load(3), acks(0, 9)].concat(),
        ),
        (
            "no-room-to-send",
            [vec![8, 1], ask(0, windows), load(3), acks(0, 2), vec![11, 8, 2, 11], acks(0, 6)].concat(),
        ),
        (
            "forged",
            [
                vec![7, 0, 250, 0, 9],
                b"\0\x01f\0octet".to_vec(),
                ask(0, plain),
                load(2),
                vec![7, 1, 0, 1, 4, 0, 4, 0, 1],
            ]
            .concat(),
        ),
    ])
}

/// Scripts of clients that upload. `uploads::check` defines the steps.
pub(super) fn uploads() -> Seeds {
    let ask = |client: u8, how: u8, window: u8| vec![0, client, how, window];
    let blocks = |client: u8, count: usize| [2, client, 0, 0].repeat(count);
    let last = |client: u8| vec![2, client, 0, 3];
    let answers = |count: usize| vec![4; count];
    named([
        ("lock-step", [ask(0, 0, 0), answers(1), blocks(0, 5), last(0), answers(1), last(0)].concat()),
        ("in-windows", [ask(0, 4, 3), answers(1), blocks(0, 9), last(0), answers(1)].concat()),
        (
            "slow",
            [
                ask(0, 0, 2),
                answers(1),
                vec![7, 1],
                blocks(0, 4),
                answers(4),
                blocks(0, 4),
                answers(4),
                last(0),
            ]
            .concat(),
        ),
        (
            "without-room",
            [
                ask(0, 0, 1),
                answers(1),
                vec![6, 0],
                blocks(0, 3),
                vec![5, 4, 6, 3],
                blocks(0, 2),
                last(0),
                answers(1),
            ]
            .concat(),
        ),
        ("denied", [vec![7, 2], ask(0, 0, 0), answers(1), ask(1, 1, 1), vec![5, 4]].concat()),
        (
            "a-broken-disk",
            [ask(0, 0, 0), answers(1), blocks(0, 2), vec![7, 3], blocks(0, 1), answers(2)].concat(),
        ),
        (
            "gaps",
            [ask(0, 0, 3), answers(1), vec![2, 0, 4, 0, 2, 0, 5, 0], blocks(0, 4), vec![5, 3], blocks(0, 2)]
                .concat(),
        ),
        (
            "three-for-two-places",
            [ask(0, 0, 0), ask(1, 1, 0), ask(2, 2, 0), answers(3), blocks(0, 1), last(1)].concat(),
        ),
    ])
}
