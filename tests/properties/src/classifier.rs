//! The classifier: for every frame, the kernel's verdict equals that of the same code in user space. A frame that is
//! taken from the host is a datagram that user space can parse.

use std::cell::RefCell;

use pxe_common::{Service, SliceFrame, Verdict, transfer_packet};
use pxe_proto::datagram::Datagram;

use crate::frames::{OWN, config};
use crate::verdicts::{Kernel, action, in_user_space, known};

/// The maximum length of a frame, in bytes: more than 1500 bytes with two VLAN tags.
const FRAME_MAX: usize = 2000;

thread_local! {
    /// The XDP program in the kernel, if this process is root.
    static KERNEL: RefCell<Option<Kernel>> =
        RefCell::new(rustix::process::geteuid().is_root().then(|| Kernel::new(&config(), true)));
}

/// Takes any bytes as a frame. Without root, it checks only the code in user space.
pub fn check(input: &[u8]) {
    let frame = &input[..input.len().min(FRAME_MAX)];
    let verdict = in_user_space(&config(), frame);
    check_taken(frame, verdict);
    // The kernel's test run requires at least an Ethernet header.
    if frame.len() >= 14 {
        KERNEL.with_borrow_mut(|kernel| {
            if let Some(kernel) = kernel {
                assert_eq!(kernel.run(frame), (verdict, action(verdict)), "kernel and user space differ");
            }
        });
    }
}

/// Checks that user space can parse what is taken from the host.
fn check_taken(frame: &[u8], verdict: Verdict) {
    let (Verdict::Redirect(service) | Verdict::Copy(service)) = verdict else { return };
    let datagram = Datagram::parse(frame).expect("a frame that is taken from the host is a datagram");
    let (to, port) = (*datagram.to.ip(), datagram.to.port());
    match service {
        Service::Dhcp => assert_eq!(port, 67),
        Service::BootServer => assert_eq!(port, 4011),
        Service::TftpRequest => assert_eq!((to, port), (OWN, 69)),
        Service::TftpTransfer => {
            let packet = transfer_packet(&SliceFrame(frame), &config()).expect("a transfer's packet");
            assert_eq!((to, packet.key()), (OWN, known()));
        }
    }
    if matches!(service, Service::Dhcp | Service::BootServer) {
        assert!(datagram.payload.len() >= 240 && datagram.payload[0] == 1, "no BOOTREQUEST");
    }
}
