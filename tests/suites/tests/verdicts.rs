//! Named frames and their verdicts, in the kernel by BPF test-run and over plain slices.

use std::cell::RefCell;

use proptest::prelude::*;
use pxe_common::abi::{Config, dhcp_mode};
use pxe_common::{Drop, Pass, Service, Verdict};
use pxe_kit::namespace;
use pxe_nic::programs::Programs;
use pxe_properties::frames::{CLIENT, OWN, broadcast_67, config, golden, udp};
use pxe_properties::verdicts::{
    CLIENT_PORT, Kernel, XDP_PASS, XDP_REDIRECT, action, in_user_space, named_frames,
};

#[test]
fn every_named_frame_gets_its_verdict_in_the_kernel_and_in_user_space() {
    let config = config();
    let mut kernel = Kernel::new(&config, true);
    for (name, frame, verdict) in named_frames() {
        assert_eq!(in_user_space(&config, &frame), verdict, "{name}, over a slice");
        assert_eq!(kernel.run(&frame), (verdict, action(verdict)), "{name}, in the kernel");
    }
}

#[test]
fn with_a_dhcp_server_here_requests_are_copied_whole_and_passed_on() {
    let config = Config { dhcp_mode: dhcp_mode::COPY, ..config() };
    let mut kernel = Kernel::new(&config, true);
    for name in ["ovmf-discover", "ipxe-bios-discover", "ovmf-http-discover"] {
        let frame = broadcast_67(&golden(name));
        assert_eq!(kernel.run(&frame), (Verdict::Copy(Service::Dhcp), XDP_PASS), "{name}");
        let mut copied = Vec::new();
        assert!(kernel.copies.next(|bytes| copied = bytes.to_vec()), "{name} was copied");
        assert_eq!(copied, frame, "{name}");
    }
    let frame = udp((CLIENT, 4011), (OWN, 4011), &golden("ovmf-4011"));
    assert_eq!(kernel.run(&frame), (Verdict::Copy(Service::BootServer), XDP_PASS));
    // TFTP is redirected all the same.
    let rrq = udp((CLIENT, CLIENT_PORT), (OWN, 69), b"\0\x01x\0octet\0");
    assert_eq!(kernel.run(&rrq), (Verdict::Redirect(Service::TftpRequest), XDP_REDIRECT));
}

#[test]
fn when_nobody_reads_the_copies_the_host_still_gets_its_frames() {
    let config = Config { dhcp_mode: dhcp_mode::COPY, ..config() };
    let mut kernel = Kernel::new(&config, true);
    let frame = broadcast_67(&golden("ovmf-discover"));
    let verdicts: Vec<_> = (0..3000).map(|_| kernel.run(&frame)).collect();
    assert!(verdicts.iter().all(|(_, action)| *action == XDP_PASS));
    assert_eq!(verdicts.last(), Some(&(Verdict::Drop(Drop::CopyLost), XDP_PASS)));
}

#[test]
fn a_service_that_is_off_leaves_its_frames_to_the_host() {
    let mut kernel = Kernel::new(&Config { dhcp_mode: dhcp_mode::OFF, tftp: 0, ..config() }, true);
    for (name, frame, _) in named_frames() {
        let (verdict, action) = kernel.run(&frame);
        let ours = matches!(verdict, Verdict::Redirect(Service::TftpTransfer));
        assert!(ours || action == XDP_PASS, "{name}: {verdict:?}");
    }
}

#[test]
fn a_queue_without_a_socket_leaves_its_frames_to_the_host() {
    let mut kernel = Kernel::new(&config(), false);
    let frame = udp((CLIENT, 67), (OWN, 67), &golden("ovmf-discover"));
    assert_eq!(kernel.run(&frame), (Verdict::Pass(Pass::NoSocket), XDP_PASS));
}

/// Two daemons change places: the host must not tell a client that a port is closed, but gets what is not ours alone.
#[test]
fn while_one_daemon_hands_over_to_the_next_our_frames_are_dropped() {
    const XDP_DROP: u32 = 1;
    let mut kernel = Kernel::new(&Config { hold: 1, ..config() }, false);
    for (name, frame, usual) in named_frames() {
        let (verdict, action) = kernel.run(&frame);
        let is_dropped = matches!(usual, Verdict::Redirect(_) | Verdict::Drop(_));
        assert_eq!(action == XDP_DROP, is_dropped, "{name}: {verdict:?}");
    }
}

#[test]
fn the_program_for_large_frames_gives_the_same_verdicts() {
    namespace::enter_new().unwrap();
    let mut programs = Programs::load(1, 16, true).unwrap();
    programs.configure(&Config { dhcp_mode: dhcp_mode::COPY, ..config() }).unwrap();
    assert_eq!(programs.test_run(&broadcast_67(&golden("ovmf-discover"))).unwrap().0, XDP_PASS);
    let counted: Vec<_> = programs.counters().unwrap().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("copy_dhcp", 1)]);
}

/// The same code twice, on two machines: the kernel's must agree with the slice's on every input.
#[test]
fn the_kernel_and_user_space_agree_on_damaged_frames() {
    let config = config();
    let kernel = RefCell::new(Kernel::new(&config, true));
    let frames: Vec<Vec<u8>> = named_frames().into_iter().map(|(_, frame, _)| frame).collect();
    let count = frames.len();
    let damage = (
        0..count,
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
        any::<bool>(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x7078_6564),
        ..ProptestConfig::default()
    });
    let result = runner.run(&damage, |(which, bytes, cut, whole)| {
        let mut frame = frames[which].clone();
        for (at, byte) in bytes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        // The kernel's test-run wants an Ethernet header at least.
        let len = if whole { frame.len() } else { 14 + cut.index(frame.len() - 13) };
        frame.truncate(len);
        let verdict = in_user_space(&config, &frame);
        prop_assert_eq!(kernel.borrow_mut().run(&frame), (verdict, action(verdict)));
        Ok(())
    });
    result.unwrap();
}
