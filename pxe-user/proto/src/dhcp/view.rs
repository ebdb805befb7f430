//! A view of any DHCP message for display: header fields, and all options in their order.

use std::net::Ipv4Addr;

use super::Message;
use super::header::{self, COOKIE, COOKIE_AT, Header, OPTIONS_AT};
use super::ignored::Malformed;
use super::options::{Items, code};
use crate::mac::Mac;

/// The message type of an offer (RFC 2132, section 9.6).
const OFFER: u8 = 2;

/// A DHCP message. Only its length and its cookie are checked, so any field or option may be missing or
/// wrong.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    header: &'a Header,
    options: &'a [u8],
}

impl<'a> MessageView<'a> {
    /// Parses a UDP payload.
    ///
    /// # Errors
    /// [`Malformed::Short`] and [`Malformed::Cookie`].
    pub fn parse(packet: &'a [u8]) -> Result<Self, Malformed> {
        let header: &Header = packet.first_chunk().ok_or(Malformed::Short)?;
        if header[COOKIE_AT..] != COOKIE {
            return Err(Malformed::Cookie);
        }
        Ok(Self { header, options: &packet[OPTIONS_AT..] })
    }

    /// Whether `op` is BOOTREPLY.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.header[header::OP] == header::BOOTREPLY
    }

    /// The first six bytes of `chaddr`.
    #[must_use]
    pub fn mac(&self) -> Mac {
        let [a, b, c, d, e, f, ..]: [u8; 16] = header::field(self.header, header::CHADDR);
        Mac([a, b, c, d, e, f])
    }

    /// `yiaddr`: the address that the client is assigned.
    #[must_use]
    pub fn yiaddr(&self) -> Ipv4Addr {
        header::address(self.header, header::YIADDR)
    }

    /// `siaddr`: the address of the server that has the file.
    #[must_use]
    pub fn siaddr(&self) -> Ipv4Addr {
        header::address(self.header, header::SIADDR)
    }

    /// `file`, up to its NUL; empty if there is no name.
    #[must_use]
    pub fn file(&self) -> &'a [u8] {
        let field = &self.header[header::FILE];
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The message type from option 53; `None` if the option is absent or does not have one byte.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        let [number] = self.option(code::MESSAGE_TYPE)? else { return None };
        Some(Message::of(*number))
    }

    /// The server from option 54; `None` if the option is absent or does not have four bytes.
    #[must_use]
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.option(code::SERVER_ID)?).ok().map(Ipv4Addr::from)
    }

    /// Whether it is what a proxyDHCP server sends first: an offer for PXE clients that assigns no address (PXE 2.1, section
    /// 2.2.3).
    #[must_use]
    pub fn is_proxy_offer(&self) -> bool {
        self.is_reply()
            && self.message() == Some(Message::of(OFFER))
            && self.yiaddr().is_unspecified()
            && self.option(code::CLASS).is_some_and(|class| class.starts_with(b"PXEClient"))
    }

    /// The first part of an option; `None` if the option is absent.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<&'a [u8]> {
        self.options().find(|(known, _)| *known == code).map(|(_, value)| value)
    }

    /// The options in their order, up to END, to the end of the message, or to an option that runs past it.
    pub fn options(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        tags(self.options)
    }
}

/// The sub-options of an option such as 43 or 175, in their order.
pub fn tags(value: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    Items::new(value).map_while(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_what_is_there() {
        let mut packet = vec![0; OPTIONS_AT];
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 0, 9]);
        packet[20..24].copy_from_slice(&[10, 0, 0, 1]);
        packet[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        packet[108..111].copy_from_slice(b"a.0");
        packet[COOKIE_AT..].copy_from_slice(&COOKIE);
        packet.extend([53, 1, 5, 54, 4, 10, 0, 0, 2, 43, 3, 6, 1, 8, 60, 9, b'P']);
        let view = MessageView::parse(&packet).unwrap();
        assert!(view.is_reply());
        assert_eq!((view.yiaddr(), view.siaddr()), ([10, 0, 0, 9].into(), [10, 0, 0, 1].into()));
        assert_eq!((view.mac(), view.file()), (Mac([2, 0, 0, 0, 0, 1]), &b"a.0"[..]));
        assert_eq!((view.message(), view.server_id()), (Some(Message::Other(5)), Some([10, 0, 0, 2].into())));
        assert_eq!(view.options().map(|(code, _)| code).collect::<Vec<_>>(), [53, 54, 43]);
        assert_eq!(view.option(43).map(|value| tags(value).collect::<Vec<_>>()), Some(vec![(6, &[8][..])]));
        assert!(MessageView::parse(&packet[..OPTIONS_AT - 1]).is_err());
    }

    #[test]
    fn a_proxys_offer_assigns_no_address_and_names_its_class() {
        let offer = |kind, yiaddr: [u8; 4], options: &[u8]| {
            let mut packet = vec![0; OPTIONS_AT];
            packet[0] = 2;
            packet[16..20].copy_from_slice(&yiaddr);
            packet[COOKIE_AT..].copy_from_slice(&COOKIE);
            packet.extend([53, 1, kind]);
            packet.extend_from_slice(options);
            packet
        };
        let class = b"\x3c\x09PXEClient\xff";
        for (packet, is_proxys) in [
            (offer(2, [0; 4], class), true),
            (offer(5, [0; 4], class), false),
            (offer(2, [10, 0, 0, 9], class), false),
            (offer(2, [0; 4], &[255]), false),
        ] {
            assert_eq!(MessageView::parse(&packet).unwrap().is_proxy_offer(), is_proxys, "{packet:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(mut packet in proptest::collection::vec(proptest::arbitrary::any::<u8>(), 0..400)) {
            if let Some(cookie) = packet.get_mut(COOKIE_AT..OPTIONS_AT) {
                cookie.copy_from_slice(&COOKIE);
            }
            if let Ok(view) = MessageView::parse(&packet) {
                let _ = (view.file(), view.message(), view.server_id(), view.options().count());
            }
        }
    }
}
