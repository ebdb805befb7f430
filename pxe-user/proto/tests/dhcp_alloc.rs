//! Parsing a request and writing the reply allocate nothing, so many DISCOVERs at once cost no heap. The test
//! is alone in its binary, because it counts all allocations of the process.

use std::alloc::System;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use pxe_proto::dhcp::{
    Arch, BootFile, BootService, MAX_REPLY, Menu, MenuItem, Request, ServerPort, Style, Text, reply,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn parsing_and_answering_allocate_nothing() {
    let packets: Vec<_> =
        ["ovmf-discover", "ipxe-bios-discover", "ipxe-bios-boot-server", "ovmf-4011", "ovmf-request-67"]
            .map(|name| {
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/packets/dhcp/{name}.bin"))
            })
            .iter()
            .map(|path| std::fs::read(path).expect("a golden packet"))
            .collect();
    let mut service = BootService::new(Ipv4Addr::new(10, 99, 0, 2));
    service.programs.set(Arch::X64, BootFile::new("x64.efi").expect("valid").into());
    service.programs.set_ipxe(BootFile::new("boot.ipxe").expect("valid").into());
    let item = MenuItem::boot(0x8000, Text::new("Memory test").expect("valid"), None).expect("valid");
    service.menu = Some(Menu::new(Text::new("F8").expect("valid"), 3, vec![item]).expect("valid"));
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 115), 68);

    let region = Region::new(ALLOCATOR);
    let mut answered = 0;
    for packet in &packets {
        // A packet whose option 82 comes in two parts uses the scratch buffer, not the heap.
        let mut split = [0; 512];
        let end = packet.iter().rposition(|byte| *byte == 255).expect("END");
        split[..end].copy_from_slice(&packet[..end]);
        split[end..end + 7].copy_from_slice(&[82, 1, 1, 82, 1, 2, 255]);
        for bytes in [&packet[..], &split] {
            for via in [ServerPort::Port67, ServerPort::Port4011] {
                for style in [Style::Direct, Style::Binl, Style::Menu] {
                    let mut out = [0; MAX_REPLY];
                    let request = Request::parse(bytes).expect("well formed");
                    answered += usize::from(reply(&service, &request, via, from, style, &mut out).is_ok());
                }
            }
        }
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert!(answered >= 20, "only {answered} requests were answered");
}
