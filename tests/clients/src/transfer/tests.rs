use super::*;
use crate::manners::Kind;

const TID: u16 = 61000;
const NOW: Timestamp = Timestamp::from_micros(1);

fn file() -> Vec<u8> {
    (0..=255).cycle().take(3000).collect()
}

fn block(number: u16) -> Vec<u8> {
    let start = usize::from(number - 1) * 1024;
    [&[0, 3, 0, number as u8], &file()[start..(start + 1024).min(3000)]].concat()
}

fn begin(manners: &Manners, oack: &[u8]) -> (Transfer, ClientAction) {
    let mut transfer = Transfer::start(NOW, manners, manners.probe.is_some());
    let step = transfer.receive(NOW, manners, Some(&[file()]), TID, &[b"\0\x06", oack].concat());
    (transfer, step)
}

fn take(transfer: &mut Transfer, manners: &Manners, number: u16) -> ClientAction {
    transfer.receive(NOW, manners, Some(&[file()]), TID, &block(number))
}

#[test]
fn a_file_comes_in_lock_step_and_in_windows() {
    for (windowsize, steps) in [
        (1, [ClientAction::Ack(1), ClientAction::Ack(2), ClientAction::Complete(3)]),
        (4, [ClientAction::Nothing, ClientAction::Nothing, ClientAction::Complete(3)]),
    ] {
        let manners = Manners::of(Kind::Plain, 1024, windowsize);
        let oack = format!("blksize\x001024\0tsize\x003000\0windowsize\x00{windowsize}\0");
        let (mut transfer, step) = begin(&manners, oack.as_bytes());
        assert_eq!(step, ClientAction::Ack(0));
        for (number, step) in (1..).zip(steps) {
            assert_eq!(take(&mut transfer, &manners, number), step);
        }
    }
}

#[test]
fn a_server_without_windows_is_answered_block_by_block() {
    let manners = Manners::of(Kind::Plain, 1024, 4);
    let (mut transfer, _) = begin(&manners, b"tsize\x003000\0blksize\x001024\0");
    assert_eq!(take(&mut transfer, &manners, 1), ClientAction::Ack(1));
}

#[test]
fn options_are_found_by_name_only() {
    assert_eq!(granted(b"tsize\x003000\0BLKSIZE\x001024\0", b"blksize"), Some(1024));
    assert_eq!(granted(b"blksize\x001024\0", b"windowsize"), None);
    assert_eq!(granted(b"x\0blksize\x00512\0", b"blksize"), None);
    assert_eq!(granted(b"blksize\0\0", b"blksize"), None);
}

#[test]
fn blocks_of_two_versions_are_wrong_and_those_of_either_are_right() {
    let manners = Manners::of(Kind::Plain, 1024, 1);
    let newer: Vec<u8> = file().iter().map(|byte| !byte).collect();
    let versions = [file(), newer];
    let of_newer = |number| {
        let mut packet = block(number);
        packet[4..].iter_mut().for_each(|byte| *byte = !*byte);
        packet
    };
    let mut transfer = Transfer::start(NOW, &manners, false);
    let mut take = |packet: &[u8]| transfer.receive(NOW, &manners, Some(&versions), TID, packet);
    assert_eq!(take(b"\0\x06blksize\x001024\0tsize\x003000\0"), ClientAction::Ack(0));
    assert_eq!(take(&of_newer(1)), ClientAction::Ack(1));
    assert_eq!(take(&of_newer(2)), ClientAction::Ack(2));
    assert_eq!(take(&block(3)), ClientAction::Failed(Failure::Wrong));
    let mut transfer = Transfer::start(NOW, &manners, false);
    let mut take = |packet: &[u8]| transfer.receive(NOW, &manners, Some(&versions), TID, packet);
    take(b"\0\x06blksize\x001024\0");
    for number in 1..=3 {
        take(&of_newer(number));
    }
    assert!(transfer.is_later_version());
}

#[test]
fn wrong_bytes_and_wrong_sizes_are_told_from_refusals() {
    let manners = Manners::of(Kind::Plain, 1024, 1);
    let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
    let mut data = block(1);
    data[700] ^= 1;
    let step = transfer.receive(NOW, &manners, Some(&[file()]), TID, &data);
    assert_eq!(step, ClientAction::Failed(Failure::Wrong));
    assert_eq!(begin(&manners, b"tsize\x002999\0").1, ClientAction::Failed(Failure::Wrong));
    assert_eq!(begin(&manners, b"blksize\x001025\0").1, ClientAction::Failed(Failure::Refused));
    assert_eq!(begin(&manners, b"windowsize\x002\0").1, ClientAction::Failed(Failure::Refused));
}

#[test]
fn a_block_that_ends_too_early_is_wrong() {
    let manners = Manners::of(Kind::Plain, 1024, 1);
    let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
    let step = transfer.receive(NOW, &manners, Some(&[file()]), TID, &block(1)[..1000]);
    assert_eq!(step, ClientAction::Failed(Failure::Wrong));
}

#[test]
fn the_probe_of_edk2_ends_with_the_size() {
    let manners = Manners::of(Kind::Edk2, 0, 0);
    assert_eq!(begin(&manners, b"tsize\x003000\0blksize\x001468\0windowsize\x004\0").1, ClientAction::Sized);
    let mut transfer = Transfer::start(NOW, &manners, true);
    assert_eq!(take(&mut transfer, &manners, 1), ClientAction::Failed(Failure::Refused));
}

#[test]
fn a_look_up_wants_to_hear_that_there_is_nothing() {
    let manners = Manners::of(Kind::Pxelinux, 0, 0);
    let answer =
        |packet: &[u8]| Transfer::start(NOW, &manners, false).receive(NOW, &manners, None, TID, packet);
    assert_eq!(answer(b"\0\x05\0\x01no\0"), ClientAction::Missing);
    assert_eq!(answer(b"\0\x05\0\x02no\0"), ClientAction::Failed(Failure::Refused));
    assert_eq!(answer(b"\0\x06tsize\x001\0"), ClientAction::Failed(Failure::Refused));
    let found =
        Transfer::start(NOW, &manners, false).receive(NOW, &manners, Some(&[vec![]]), TID, b"\0\x05\0\x01");
    assert_eq!(found, ClientAction::Failed(Failure::Refused));
}

#[test]
fn unexpected_blocks_are_answered_as_each_client_does() {
    for (kind, duplicate, ahead) in [
        (Kind::Plain, ClientAction::Ack(1), ClientAction::Nothing),
        (Kind::Ipxe, ClientAction::Ack(1), ClientAction::Ack(1)),
        (Kind::Grub, ClientAction::Ack(1), ClientAction::Nothing),
    ] {
        let manners = Manners::of(kind, 1024, 1);
        let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
        take(&mut transfer, &manners, 1);
        assert_eq!(take(&mut transfer, &manners, 1), duplicate, "{kind:?}");
        assert_eq!(take(&mut transfer, &manners, 3), ahead, "{kind:?}");
        assert_eq!(take(&mut transfer, &manners, 2), ClientAction::Ack(2), "{kind:?}");
    }
}

#[test]
fn an_oack_that_comes_again_sets_only_grub_back() {
    for (kind, step) in [(Kind::Ipxe, ClientAction::Nothing), (Kind::Grub, ClientAction::Ack(0))] {
        let manners = Manners::of(kind, 0, 0);
        let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
        take(&mut transfer, &manners, 1);
        let again = transfer.receive(NOW, &manners, Some(&[file()]), TID, b"\0\x06blksize\x001024\0");
        assert_eq!(again, step, "{kind:?}");
    }
}

#[test]
fn silence_is_answered_by_repeats_and_then_by_giving_up() {
    let at = |time: u64| Timestamp::from_micros(time * 100_000_000);
    for (kind, repeats) in [(Kind::Plain, 10), (Kind::Ipxe, 5), (Kind::Edk2, 5), (Kind::Grub, 39)] {
        let manners = Manners::of(kind, 1024, 1);
        let mut transfer = Transfer::start(Timestamp::default(), &manners, false);
        for time in 1..=repeats {
            assert_eq!(transfer.on_time(at(time), &manners), ClientAction::Request, "{kind:?} {time}");
        }
        assert_eq!(
            transfer.on_time(at(repeats + 1), &manners),
            ClientAction::Failed(Failure::Silence),
            "{kind:?}"
        );
    }
}

#[test]
fn grub_never_repeats_an_acknowledgement_and_others_do() {
    let late = Timestamp::from_micros(40_000_000);
    for (kind, step) in
        [(Kind::Grub, ClientAction::Failed(Failure::Silence)), (Kind::Pxelinux, ClientAction::Ack(0))]
    {
        let manners = Manners::of(kind, 0, 0);
        let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
        assert_eq!(transfer.on_time(late, &manners), step);
    }
}

#[test]
fn strangers_are_not_heard() {
    let manners = Manners::of(Kind::Plain, 1024, 1);
    let (mut transfer, _) = begin(&manners, b"blksize\x001024\0");
    assert_eq!(transfer.receive(NOW, &manners, Some(&[file()]), TID + 1, &block(1)), ClientAction::Nothing);
}

#[test]
fn another_player_may_acknowledge_in_between() {
    let manners = Manners::of(Kind::Plain, 1024, 1);
    let (mut transfer, _) = begin(&manners, b"blksize\x001024\0tsize\x003000\0");
    let steady = Steady { server_port: TID, have: Block(0), blksize: 1024, windowsize: 1 };
    assert_eq!(transfer.steady(), Some(steady));
    let later = Timestamp::from_micros(900_000);
    transfer.resume(later, &manners, Block(2), 0);
    assert!(transfer.deadline > later, "what the other player received counts as heard");
    assert_eq!(take(&mut transfer, &manners, 3), ClientAction::Complete(3));
    let manners = Manners::of(Kind::Plain, 1024, 2);
    let (mut transfer, _) = begin(&manners, b"blksize\x001024\0windowsize\x002\0");
    transfer.resume(later, &manners, Block(1), 1);
    assert_eq!(transfer.steady(), None, "a window is not at its beginning");
    assert_eq!(take(&mut transfer, &manners, 2), ClientAction::Ack(2));
}
