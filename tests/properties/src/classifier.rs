//! The classifier: on every frame the kernel's verdict is that of the same code here, and what is taken from the host is a
//! datagram that user space reads alike.

use std::cell::RefCell;

use pxe_common::{Service, SliceFrame, Verdict, transfer_packet};
use pxe_proto::datagram::Datagram;

use crate::frames::{OWN, config};
use crate::verdicts::{Kernel, action, in_user_space, known};

/// The longest frame that is shown to the kernel, in bytes: two tags and 1500 bytes, and then some.
const FRAME_MAX: usize = 2000;

thread_local! {
    /// The program, where we may load one.
    static KERNEL: RefCell<Option<Kernel>> =
        RefCell::new(rustix::process::geteuid().is_root().then(|| Kernel::new(&config(), true)));
}

/// Any bytes as a frame. Without root only the half that is here is checked.
pub fn check(input: &[u8]) {
    let frame = &input[..input.len().min(FRAME_MAX)];
    let verdict = in_user_space(&config(), frame);
    check_taken(frame, verdict);
    // The kernel's test-run wants an Ethernet header at least.
    if frame.len() >= 14 {
        KERNEL.with_borrow_mut(|kernel| {
            if let Some(kernel) = kernel {
                assert_eq!(kernel.run(frame), (verdict, action(verdict)), "the kernel, and this");
            }
        });
    }
}

/// Nothing is taken from the host that user space would not understand.
fn check_taken(frame: &[u8], verdict: Verdict) {
    let (Verdict::Redirect(service) | Verdict::Copy(service)) = verdict else { return };
    let datagram = Datagram::parse(frame).expect("a datagram, since it was taken from the host");
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
