//! DHCP: whatever the request, a reply is complete, not too long, goes to a valid address, and assigns no address.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::LazyLock;

use dhcproto::v4::{self, DhcpOption, OptionCode};
use dhcproto::{Decodable as _, Decoder};
use pxe_proto::dhcp::{
    Arch, BootFile, BootService, MAX_REPLY, Menu, MenuItem, MessageView, Printable, Program, Programs, Reply,
    Request, ServerPort, Style, Text, Url, reply,
};

use crate::frames::{CLIENT, OWN};

/// The services: plain, with HTTP boot, with a menu, and with local boot.
static SERVICES: LazyLock<[BootService; 4]> = LazyLock::new(|| {
    let plain = BootService { programs: programs(), ..BootService::new(OWN) };
    let url = Url::new("http://10.99.0.2/{mac}/memtest86+x64.efi").expect("a valid URL");
    let http = BootService { http: vec![(Arch::X64_HTTP, url)], ipxe_priority: true, ..plain.clone() };
    let items = vec![
        MenuItem::boot(0x8000, text("Memory test"), None).expect("a valid item"),
        MenuItem::local(text("Local disk")),
    ];
    let menu = Menu::new(text("Press F8"), 3, items).expect("a valid menu");
    let with_menu = BootService {
        menu: Some(menu.clone()),
        boot_server: Some(Ipv4Addr::new(10, 99, 0, 3)),
        ..plain.clone()
    };
    let local = BootService { local: Some(menu), ..plain.clone() };
    [plain, http, with_menu, local]
});

fn text(words: &str) -> Text {
    Text::new(words).expect("a valid text")
}

fn programs() -> Programs {
    let file = |name: &str| BootFile::new(name).expect("a valid name");
    let mut programs = Programs::default();
    let config = Some(text("pxelinux.cfg/{mac}"));
    programs.set(Arch::BIOS, Program { file: file("pxelinux.0"), config, path_prefix: Some(text("bios/")) });
    programs.set(Arch::X64, file("pxed/{mac}/boot.efi").into());
    programs.set(Arch::RPI, file("bootcode.bin").into());
    programs.set_ipxe(file("boot.ipxe").into());
    programs
}

/// Takes any bytes as a DHCP message. The last byte selects the service, the port, the style and the sender.
pub fn check(input: &[u8]) {
    let choice = input.last().copied().unwrap_or_default();
    let service = &SERVICES[usize::from(choice & 3)];
    let via = if choice & 4 == 0 { ServerPort::Port67 } else { ServerPort::Port4011 };
    let style = [Style::Direct, Style::Binl, Style::Menu, Style::Direct][usize::from(choice >> 3 & 3)];
    let from = if choice & 32 == 0 {
        SocketAddrV4::new(CLIENT, 68)
    } else {
        SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68)
    };
    if let Ok(view) = MessageView::parse(input) {
        let _ = (view.file(), view.message(), view.server_id(), view.options().count());
    }
    let Ok(request) = Request::parse(input) else { return };
    read_everything(&request);
    let mut out = [0xaa; MAX_REPLY];
    let Ok(told) = reply(service, &request, via, from, style, &mut out) else { return };
    let bytes = &out[..told.len];
    check_reply(service, input, &request, &told, bytes);
    // A reply has no state, and contains nothing of the buffer's earlier contents.
    let mut again = [0x55; MAX_REPLY];
    assert_eq!(reply(service, &request, via, from, style, &mut again), Ok(told));
    assert_eq!(&again[..told.len], bytes, "two replies to one request differ");
}

/// Calls the accessors that replies do not need: they must not panic either.
fn read_everything(request: &Request<'_>) {
    let shown = Printable(request.client_id().unwrap_or_default()).to_string();
    assert!(shown.is_ascii() && !shown.contains(|c: char| c.is_control()), "{shown:?}");
    let _ = (request.uuid().map(|uuid| uuid.to_string()), request.is_raspberry_pi(), request.secs());
}

fn check_reply(service: &BootService, input: &[u8], request: &Request<'_>, told: &Reply<'_>, bytes: &[u8]) {
    // RFC 2131, section 2: option 57 is at least 576, of which IP and UDP take 28.
    let asked = usize::from(request.max_message_size().unwrap_or(576).max(576)) - 28;
    assert!((300..=asked.min(MAX_REPLY)).contains(&bytes.len()), "{} bytes, {asked} allowed", bytes.len());
    assert_eq!(bytes[0], 2, "BOOTREPLY");
    assert_eq!(bytes[4..8], input[4..8], "xid");
    assert_eq!(bytes[16..20], [0; 4], "yiaddr: pxed assigns no addresses");
    assert_eq!(bytes[20..24], service.boot_server.unwrap_or(service.server).octets(), "siaddr");
    assert_eq!(bytes[24..44], input[24..44], "giaddr and chaddr");
    assert_eq!(bytes[235], 0, "file ends with NUL");
    let to = *told.to.ip();
    let first = to.octets()[0];
    assert!(to.is_broadcast() || !matches!(first, 0 | 127 | 224..), "a reply to {to}");

    let message = v4::Message::decode(&mut Decoder::new(bytes)).expect("dhcproto reads our reply");
    let kind = if told.summary.ack { v4::MessageType::Ack } else { v4::MessageType::Offer };
    assert_eq!(message.opts().msg_type(), Some(kind));
    assert_eq!(
        message.opts().get(OptionCode::ServerIdentifier),
        Some(&DhcpOption::ServerIdentifier(service.server))
    );
    // dhcproto stops silently at an invalid option. So check that it has found each option that pxed's parser finds.
    let view = MessageView::parse(bytes).expect("we read our own reply");
    for (code, _) in view.options() {
        assert!(message.opts().get(OptionCode::from(code)).is_some(), "dhcproto does not find option {code}");
    }
    assert!(view.option(60).is_some_and(|class| class == b"PXEClient" || class == b"HTTPClient"));
    // RFC 3046, section 2.2: the reply repeats option 82 unchanged.
    let ours = Request::parse(bytes).expect("we read our own reply");
    assert_eq!(ours.relay_agent_info(), request.relay_agent_info());
    assert_eq!(ours.uuid(), request.uuid());
}
