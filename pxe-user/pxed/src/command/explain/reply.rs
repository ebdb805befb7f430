//! DHCP replies, and reasons for no reply, in words.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use pxe_proto::dhcp::{Ignored, Menu, Message, MessageView, Printable, ReplySummary, Style, tags};

/// The word for a style, and what it makes machines do.
pub(super) fn style(told: &ReplySummary<'_>) -> &'static str {
    match told.style {
        _ if told.ack => "the machine loads this file",
        Style::Direct => "direct: the machine loads the file at once",
        Style::Binl => "binl: the machine asks again on port 4011",
        Style::Menu => "menu: the machine shows a menu",
    }
}

/// The word for a message type (RFC 2132 section 9.6).
pub(super) fn message(message: Option<Message>) -> String {
    let number = match message {
        None => return "BOOTP".into(),
        Some(Message::Discover) => return "DISCOVER".into(),
        Some(Message::Request) => return "REQUEST".into(),
        Some(Message::Other(number)) => number,
    };
    match number {
        2 => "OFFER".into(),
        4 => "DECLINE".into(),
        5 => "ACK".into(),
        6 => "NAK".into(),
        7 => "RELEASE".into(),
        8 => "INFORM".into(),
        other => format!("message type {other}"),
    }
}

/// Why pxed does not reply.
pub(super) fn silence(ignored: Ignored) -> String {
    match ignored {
        Ignored::Malformed(malformed) => format!("the packet is damaged: {malformed}"),
        Ignored::NotPxe => {
            "option 60 says neither PXEClient nor HTTPClient: an ordinary DHCP client is left to the DHCP server"
                .into()
        }
        Ignored::UBoot => "U-Boot's own class is not served".into(),
        Ignored::MessageType(number) => {
            format!("a boot server does not answer a {}", message(Some(Message::Other(number))))
        }
        Ignored::RequestOnPort67 => "a REQUEST on port 67 is left to the DHCP server".into(),
        Ignored::ForeignServerId => "option 54 names another server".into(),
        Ignored::NoArch => "neither option 93 nor option 60 names an architecture".into(),
        Ignored::NoImageForArch(arch) => format!(
            "there is no boot program for {arch}: name one with `boot_files`, or --boot-file {arch}=NAME"
        ),
        Ignored::HttpNotConfigured => {
            "it boots over HTTP, which is off: add `[http]` with a port, or `http_urls`".into()
        }
        Ignored::HttpOnPort4011 => "HTTP boot does not ask on port 4011".into(),
        Ignored::UnknownBootItem(item) => format!("there is no entry {item} in the menu"),
        Ignored::LocalBoot => {
            "it needs no reply: it finds nothing to boot here and boots its own disk".into()
        }
        Ignored::ForeignChaddr => {
            "the frame's source address differs from chaddr, and there is no relay: another host forged the \
             request, or a bridge rewrites addresses (see `foreign_chaddr`)"
                .into()
        }
        Ignored::OtherResponder => "another responder of the segment answers it (see `[segment]`)".into(),
        Ignored::NotAllowed => "[access] does not allow it".into(),
        Ignored::Rule => "the rules ignore it".into(),
        Ignored::DoesNotFit => "the answer is larger than the machine accepts (option 57)".into(),
        Ignored::NotBootRequest
        | Ignored::HardwareType
        | Ignored::NoMessageType
        | Ignored::BadGiaddr
        | Ignored::BadSource
        | Ignored::Rate => ignored.as_str().replace('_', " "),
    }
}

/// Writes the content of a reply: one line for `siaddr`, for `file`, for each option and for each tag of option 43.
pub(super) fn write(out: &mut impl Write, reply: &MessageView<'_>) -> io::Result<()> {
    field(out, "siaddr", &reply.siaddr().to_string())?;
    let file = reply.file();
    let file = match file {
        [] => "empty".to_owned(),
        file => format!("{} ({} bytes)", printable(file), file.len()),
    };
    field(out, "file", &file)?;
    for (code, value) in reply.options() {
        if code == 43 {
            field(out, "43  vendor options", &format!("{} bytes:", value.len()))?;
            for (tag, value) in tags(value) {
                let (name, text) = vendor(tag, value);
                field(out, &format!("    43.{tag} {name}"), &text)?;
            }
            continue;
        }
        let (name, text) = option(code, value);
        field(out, &format!("{code:<3} {name}"), &text)?;
    }
    Ok(())
}

fn field(out: &mut impl Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {name:<28} {text}")
}

/// Name and text of an option. The names are from RFC 2132, 3046, 4578 and 5071, and from iPXE's `dhcp.h`.
fn option(code: u8, value: &[u8]) -> (&'static str, String) {
    match code {
        53 => ("message type", message(value.first().map(|number| Message::of(*number)))),
        54 => ("server", address(value)),
        60 => ("class", printable(value)),
        66 => ("server name", printable(value)),
        67 => ("boot file", printable(value.strip_suffix(&[0]).unwrap_or(value))),
        82 => ("relay's data", "as the relay sent it".into()),
        97 => ("machine's UUID", "as the machine sent it".into()),
        175 => {
            let priority = tags(value).find_map(|(tag, value)| Some(value.first()?).filter(|_| tag == 1));
            let text = priority.map(|priority| {
                format!("priority {priority}: our file, even where the DHCP server names one")
            });
            ("for iPXE", text.unwrap_or_else(|| printable(value)))
        }
        209 => ("configuration file", printable(value)),
        210 => ("path prefix", printable(value)),
        _ => ("", printable(value)),
    }
}

/// Name and text of a tag of option 43 (PXE 2.1 chapter 2).
fn vendor(tag: u8, value: &[u8]) -> (&'static str, String) {
    match (tag, value) {
        (6, [control]) => {
            let bits = [
                (0, "no broadcast"),
                (1, "no multicast"),
                (2, "only listed servers"),
                (3, "take the file of this reply at once"),
            ];
            let said = bits.into_iter().filter(|(bit, _)| control & 1 << bit != 0).map(|(_, text)| text);
            ("discovery", format!("{control}: {}", said.collect::<Vec<_>>().join(", ")))
        }
        (8, list) => ("boot servers", boot_servers(list)),
        (9, list) => ("boot menu", boot_menu(list)),
        (10, [0, prompt @ ..]) => ("prompt", format!("\"{}\", first entry at once", Printable(prompt))),
        (10, [255, prompt @ ..]) => ("prompt", format!("\"{}\", menu at once", Printable(prompt))),
        (10, [timeout, prompt @ ..]) => {
            ("prompt", format!("\"{}\", first entry after {timeout} s", Printable(prompt)))
        }
        (71, [a, b, ..]) => ("boot item", format!("entry {}", u16::from_be_bytes([*a, *b]))),
        _ => ("", printable(value)),
    }
}

/// Entries of a type (2 bytes), a number of addresses (1 byte) and the addresses (4 bytes each).
fn boot_servers(mut list: &[u8]) -> String {
    let mut all = Vec::new();
    while let [a, b, count, rest @ ..] = list {
        let (addresses, next) = rest.split_at_checked(usize::from(*count) * 4).unwrap_or((rest, &[]));
        let addresses: Vec<_> = addresses.chunks(4).map(address).collect();
        all.push(format!("entry {} at {}", u16::from_be_bytes([*a, *b]), addresses.join(", ")));
        list = next;
    }
    all.join("; ")
}

/// Entries of a type (2 bytes), a length (1 byte) and a text.
fn boot_menu(mut list: &[u8]) -> String {
    let mut all = Vec::new();
    while let [a, b, len, rest @ ..] = list {
        let (text, next) = rest.split_at_checked(usize::from(*len)).unwrap_or((rest, &[]));
        let local = if [*a, *b] == [0, 0] { " (the next boot device)" } else { "" };
        let number = u16::from_be_bytes([*a, *b]);
        all.push(format!("entry {number} \"{}\"{local}", Printable(text)));
        list = next;
    }
    all.join("; ")
}

/// Number and text of the menu's entry that leads to pxed.
pub(super) fn entry(menu: &Menu) -> Option<(u16, &str)> {
    let item = menu.items().iter().find(|item| !item.is_local())?;
    Some((item.boot_type(), item.text().as_str()))
}

fn address(value: &[u8]) -> String {
    <[u8; 4]>::try_from(value).map_or_else(|_| printable(value), |bytes| Ipv4Addr::from(bytes).to_string())
}

/// The whole value, escaped. It needs no limit, because an option has at most 255 bytes.
pub(super) fn printable(value: &[u8]) -> String {
    value.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_options_of_any_shape_are_survived_and_escaped() {
        assert_eq!(boot_servers(&[0x80, 0, 1, 10, 0, 0, 2]), "entry 32768 at 10.0.0.2");
        assert_eq!(
            boot_menu(b"\0\x01\x04Test\0\0\x04Disk"),
            "entry 1 \"Test\"; entry 0 \"Disk\" (the next boot device)"
        );
        assert_eq!(boot_menu(b"\0\x01\xff\x1b[2J"), "entry 1 \"\\x1b[2J\"");
        assert_eq!(boot_servers(&[0, 1, 200, 1]), "entry 1 at \\x01");
        assert_eq!(vendor(6, &[8]).1, "8: take the file of this reply at once");
        assert_eq!(option(54, &[1]).1, "\\x01");
        assert_eq!(option(175, &[1, 1]).1, "\\x01\\x01");
    }
}
