//! The facts that identify a machine: addresses, architecture, UUID, name.

use std::net::Ipv4Addr;

use super::Machine;
use crate::board::{State, UnixMs};
use crate::changes::{ChangeLog, Draft};
use crate::event::{Origin, Requester};
use crate::text::{clean, clean_some};
use pxe_content::boot::MachineFacts;
use pxe_proto::dhcp::{Arch, Uuid};
use pxe_proto::mac::Mac;

impl Machine {
    /// Takes over what a DHCP request shows of the machine.
    pub(super) fn identify(&mut self, requester: &Requester) {
        self.on_link |= requester.origin == Origin::Link;
        let shown = &mut self.shown;
        shown.arch = Some(requester.arch.to_string());
        if let Some(firmware) = clean_some(&requester.firmware) {
            shown.firmware = Some(firmware);
        }
        if let Some(uuid) = requester.uuid {
            shown.uuid = Some(uuid.to_string());
        }
        if let Some(address) = requester.address {
            shown.address = Some(address.to_string());
        }
        shown.relay = requester.relay.map(|relay| relay.to_string());
        shown.vlan = requester.vlan;
        shown.interface = clean_some(&requester.interface);
        shown.rule = requester.rule.as_deref().and_then(clean_some);
        shown.image = requester.image.as_deref().and_then(clean_some);
    }

    /// Its IPv4 address, if it is known.
    pub(crate) fn address(&self) -> Option<Ipv4Addr> {
        self.shown.address.as_deref()?.parse().ok()
    }

    /// Sets its IPv4 address.
    pub(crate) fn at_address(&mut self, address: Ipv4Addr) {
        self.shown.address = Some(address.to_string());
    }

    /// A machine that has a name, and was never seen. First and last seen are 0.
    pub(crate) fn expected(now: UnixMs, mac: Mac) -> Self {
        let mut machine = Self::new(now, mac);
        machine.shown.why = Some("has a name, and has not asked for a boot yet".into());
        (machine.shown.first_seen, machine.shown.last_seen) = (UnixMs(0), UnixMs(0));
        machine
    }

    /// Sets or removes its name.
    pub(crate) fn name(&mut self, now: UnixMs, name: Option<String>, change_log: &mut ChangeLog) {
        self.shown.name = name;
        let text = match &self.shown.name {
            Some(name) => format!("is now called {name}"),
            None => "has no name any more".into(),
        };
        self.step(now, change_log, Draft::new("named", text));
        change_log.touch(self.mac);
    }

    /// A file was stored in its inbox.
    pub(crate) fn uploaded(&mut self, now: UnixMs, file: &str, bytes: u64, change_log: &mut ChangeLog) {
        let file = clean(file);
        let draft = Draft::new("upload", format!("sent {file}, {bytes} bytes"));
        self.step(now, change_log, draft.fact("file", file).fact("bytes", bytes));
        self.heard(now, change_log);
    }

    /// The values that templates are filled with. The nonce is added by
    /// [`Registry::facts`](crate::registry::Registry::facts), for the machine itself only.
    pub(crate) fn facts(&self) -> MachineFacts {
        MachineFacts {
            mac: self.mac,
            uuid: self.shown.uuid.as_deref().and_then(uuid),
            address: self.address(),
            arch: self.shown.arch.as_deref().and_then(|arch| arch.parse::<Arch>().ok()),
            serial: self.shown.serial.clone(),
            name: self.shown.name.clone(),
            rule: self.shown.rule.as_deref().map(Into::into),
            image: self.shown.image.as_deref().map(Into::into),
            local: self.local || self.shown.state == State::Local,
            nonce: None,
        }
    }
}

/// Reads a UUID from its text form.
fn uuid(text: &str) -> Option<Uuid> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(|number| Uuid(number.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_as_it_is_written() {
        let known = Uuid([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(uuid(&known.to_string()), Some(known));
        assert_eq!((uuid("12"), uuid("g2345678-9abc-def0-0102-030405060708")), (None, None));
    }
}
