//! Tests of what the log says, and how often.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};

use tracing::Level;

use super::*;
use crate::event::{OfferKind, Peer, Transport, brief};
use pxe_content::boot::Refusal;
use pxe_proto::dhcp::Style;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the log lines at `level` and above for `events`, each with its time in seconds. `owner` is the
/// machine of all file events.
fn lines(level: Level, owner: Option<Mac>, events: &[(u64, Event)]) -> Vec<String> {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let mut journal = Journal::default();
        for (second, event) in events {
            journal.record(Timestamp::from_micros(second * 1_000_000), event, owner);
        }
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn told_to(mac: Mac, file: &str, address: Option<Ipv4Addr>) -> Event {
    let requester = Box::new(Requester { address, ..Requester::new(mac, Arch(7)) });
    Event::Offered { requester, what: OfferKind::Boot, file: brief(file), style: Style::Direct, ack: false }
}

fn told(file: &str, address: Option<Ipv4Addr>) -> Event {
    told_to(MAC, file, address)
}

fn without_image(mac: Mac, arch: u16) -> Event {
    Event::Unanswered { requester: Box::new(Requester::new(mac, Arch(arch))), why: Unanswered::NoImage }
}

fn refused(mac: Mac, refusal: Refusal) -> Event {
    refused_file(mac, "a\nb", refusal)
}

fn refused_file(mac: Mac, name: &str, refusal: Refusal) -> Event {
    let name = Box::new(name.parse().unwrap());
    let address = SocketAddrV4::new(ADDRESS, 2070);
    Event::Refused { peer: Peer { address, mac, transport: Transport::Tftp }, name, refusal }
}

#[test]
fn the_same_words_within_a_boot_are_one_line() {
    let same = || told("x64.efi", None);
    let events =
        [(0, same()), (4, same()), (12, same()), (20, told("ia32.efi", None)), (200, told("ia32.efi", None))];
    let lines = lines(Level::INFO, None, &events);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].contains("x64.efi") && lines[0].contains(&MAC.to_string()), "{}", lines[0]);
}

#[test]
fn a_machine_without_an_image_is_named_once_and_told_the_remedy() {
    let event = |arch| without_image(MAC, arch);
    let lines =
        lines(Level::INFO, None, &[(0, event(11)), (4, event(11)), (9000, event(11)), (9001, event(6))]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("--boot-file arm64=NAME"), "{}", lines[0]);
}

#[test]
fn missing_files_are_no_warning_and_others_come_with_the_remedy() {
    // Names that boot programs only try are not logged at level info.
    let missing = |name| (0, refused_file(MAC, name, Refusal::NotFound));
    let events = [missing("pxelinux.cfg/C0A8"), missing("grub/x86_64-efi/fs.lst"), missing("lab/memtset")];
    let said = lines(Level::INFO, None, &events);
    assert!(said.len() == 1 && said[0].contains("memtset"), "{said:#?}");
    assert_eq!(lines(Level::WARN, None, &events), [""; 0]);
    let lines = lines(Level::INFO, None, &[(0, refused(MAC, Refusal::NotReadable))]);
    assert_eq!(lines.len(), 1, "a name from the network cannot break a line: {lines:#?}");
    assert!(lines[0].contains("chmod o+r"), "{}", lines[0]);
}

/// A boot loader without a configuration stops at its prompt, which nobody may see, so the log must warn.
#[test]
fn a_boot_loader_without_a_configuration_is_a_warning_with_all_names() {
    let missing = |name| (0, refused_file(MAC, name, Refusal::NotFound));
    let events = [
        missing("pxelinux.cfg/01-02-00-00-00-00-01"),
        missing("pxelinux.cfg/C0A8"),
        missing("pxelinux.cfg/default"),
        missing("grub/grub.cfg"),
    ];
    let said = lines(Level::WARN, Some(MAC), &events);
    assert_eq!(said.len(), 2, "{said:#?}");
    let tried = "tried=\"pxelinux.cfg/01-02-00-00-00-00-01, pxelinux.cfg/C0A8, pxelinux.cfg/default\"";
    assert!(said[0].contains("PXELINUX found no configuration") && said[0].contains(tried), "{}", said[0]);
    assert!(said[1].contains("GRUB") && said[1].contains("tried=\"grub/grub.cfg\""), "{}", said[1]);
}

/// If the machine is unknown, the line names none, in particular not the router that sent the frame.
#[test]
fn a_line_names_the_machine_that_the_fleet_knows_or_none() {
    let router = Mac([2, 0, 0, 0, 0, 2]);
    for owner in [Some(MAC), None] {
        let lines = lines(Level::WARN, owner, &[(1, refused(router, Refusal::NotReadable))]);
        assert_eq!(lines[0].contains(&MAC.to_string()), owner.is_some(), "{lines:#?}");
        assert!(!lines[0].contains(&router.to_string()), "{lines:#?}");
    }
}

#[test]
fn strangers_cannot_fill_the_memory() {
    let mut journal = Journal::default();
    for n in 0..200_000u32 {
        let [a, b, c, d] = n.to_be_bytes();
        let mac = Mac([2, 0, a, b, c, d]);
        journal.record(Timestamp::default(), &told_to(mac, "f", Some(Ipv4Addr::from(n))), None);
        journal.record(Timestamp::default(), &without_image(mac, 7), None);
    }
    assert!(journal.machines.len() <= MACHINES_MAX + 1);
    assert!(journal.without_image.len() <= MACHINES_MAX + 1);
}
