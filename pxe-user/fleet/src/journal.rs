//! [`Journal`]: one log line for each step of a boot.
//!
//! It runs on the fleet's thread. Firmware repeats its DISCOVERs, so the same offer to the same machine is
//! logged at level info only once in a boot. Its tables hold only what log lines need; the registry holds the
//! machines.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::event::{Brief, Client, Event, Requester, Unanswered};
use crate::log_limiter::{Kind, LogLimiter};
use pxe_content::boot::{Refusal, is_looked_for, last_resort};
use pxe_proto::dhcp::Arch;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::send_session::TransferOutcome;
use pxe_proto::time::Timestamp;

/// The same offer to the same machine within this time is logged at level debug only.
const SAME_BOOT: Duration = Duration::from_secs(60);
/// Maximum number of machines in each table. Beyond that the journal forgets all of them, so that a flood of
/// invented addresses cannot use up the memory.
const MACHINES_MAX: usize = 65536;

/// Maximum number of clients whose configuration searches are kept, and of names for each.
const SEARCHES_MAX: usize = 4096;
const LOOKED_FOR_MAX: usize = 16;

/// What log lines need to know about one machine.
#[derive(Clone, Debug)]
struct Machine {
    arch: Arch,
    client: Client,
    told: Brief,
    by_ack: bool,
    told_at: Timestamp,
    first_seen: Timestamp,
}

/// Writes the log lines about machines.
#[derive(Debug, Default)]
pub struct Journal {
    machines: HashMap<Mac, Machine>,
    without_image: HashMap<Mac, Arch>,
    without_rule: HashSet<Mac>,
    /// By client: the names that its boot loader has requested without success since it last fetched a file.
    searches: HashMap<Ipv4Addr, Vec<String>>,
    limit: LogLimiter,
}

impl Journal {
    /// Logs an event. `owner` is the machine that the event's client is, if the event has a client and the
    /// registry knows it.
    pub fn record(&mut self, now: Timestamp, event: &Event, owner: Option<Mac>) {
        if self.machines.len() > MACHINES_MAX {
            *self = Self::default();
        }
        if let Event::Loading { .. } | Event::Leased { .. } = event {
            return;
        }
        self.search(now, event, owner);
        // These look-ups are logged at level debug. If that level is off, they must not use up the tokens of
        // warnings.
        if is_look_up(event) && !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let Some(left_out) = self.limit.admit(now, kind(event)) else { return };
        if left_out > 0 {
            tracing::warn!(event = "left_out", left_out, "dropped log lines: too many at once");
        }
        match event {
            Event::Offered { .. } => self.told(now, event),
            Event::Unanswered { requester, why: Unanswered::NoImage } => self.no_image(requester),
            Event::Unanswered { requester, why: Unanswered::Rule } => self.ignored(requester),
            Event::StyleLearnt { mac, style } => {
                tracing::info!(event = "learnt", %mac, ?style, "learnt the offer style that its firmware needs");
            }
            Event::Loading { .. } | Event::Leased { .. } => {}
            Event::Fetched { .. } => self.fetched(now, owner, event),
            Event::Refused { peer, name, refusal } => {
                let client = peer.address;
                let mac = text(owner);
                let (address, file, reason) = (client.ip(), name.to_string(), refusal.as_str());
                if !matches!(refusal, Refusal::NotFound) {
                    tracing::warn!(event = "refused", mac, %address, file, reason, "{}", refusal.remedy());
                } else if is_look_up(event) {
                    tracing::debug!(event = "refused", mac, %address, file, reason, "no such file");
                } else {
                    tracing::info!(event = "refused", mac, %address, file, reason, "requested a file that does not exist");
                }
            }
        }
    }

    /// Collects the configuration names that a boot loader requests without success. When it has requested
    /// the last one, writes a warning that names all of them.
    fn search(&mut self, now: Timestamp, event: &Event, owner: Option<Mac>) {
        let address = match event {
            Event::Refused { peer, .. } if is_look_up(event) => *peer.address.ip(),
            Event::Fetched { peer, .. } => return drop(self.searches.remove(peer.address.ip())),
            _ => return,
        };
        let Event::Refused { name, .. } = event else { return };
        let name = name.to_string();
        if self.searches.len() >= SEARCHES_MAX {
            self.searches.clear();
        }
        let names = self.searches.entry(address).or_default();
        if names.len() < LOOKED_FOR_MAX && !names.contains(&name) {
            names.push(name.clone());
        }
        let Some(loader) = last_resort(&name) else { return };
        let tried = names.join(", ");
        names.clear();
        if self.limit.admit(now, Kind::Warning).is_some() {
            let mac = text(owner);
            tracing::warn!(event = "no_config", mac, %address, loader, tried, "{loader} found no configuration and stops: put one of these files there");
        }
    }

    fn told(&mut self, now: Timestamp, event: &Event) {
        let Event::Offered { requester, file, style, ack, .. } = event else { return };
        let Requester { mac, arch, client, relay, rule, .. } = &**requester;
        let known = self.machines.get(mac);
        let again = known.is_some_and(|machine| {
            (machine.told, machine.client, machine.by_ack) == (*file, *client, *ack)
                && now.since(machine.told_at) < SAME_BOOT
        });
        let first_seen = known.filter(|m| now.since(m.told_at) < SAME_BOOT).map_or(now, |m| m.first_seen);
        self.machines.insert(
            *mac,
            Machine { arch: *arch, client: *client, told: *file, by_ack: *ack, told_at: now, first_seen },
        );
        let reply = if *ack { "ACK" } else { "OFFER" };
        let style = format!("{style:?}").to_lowercase();
        let relay = relay.map(|relay| relay.to_string());
        if again {
            tracing::debug!(event = "told_again", %mac, %arch, client = client.as_str(), file = file.as_str(), style, reply, relay, rule = rule.as_deref(), "sent the same boot offer again");
        } else {
            tracing::info!(event = "told", %mac, %arch, client = client.as_str(), file = file.as_str(), style, reply, relay, rule = rule.as_deref(), "sent a boot offer");
        }
    }

    /// Logs that a rule ignores a machine, at level debug, because the configuration wants it so. That no
    /// rule matches may be a mistake, so it is logged at level info, once for each machine.
    fn ignored(&mut self, requester: &Requester) {
        let mac = requester.mac;
        match &requester.rule {
            Some(rule) => {
                tracing::debug!(event = "ignored", %mac, rule = &**rule, "a rule ignores this machine");
            }
            None => {
                if self.without_rule.len() > MACHINES_MAX {
                    self.without_rule.clear();
                }
                if self.without_rule.insert(mac) {
                    tracing::info!(event = "ignored", %mac, arch = %requester.arch, "no rule matches this machine");
                }
            }
        }
    }

    fn no_image(&mut self, requester: &Requester) {
        let (mac, arch) = (requester.mac, requester.arch);
        if self.without_image.len() > MACHINES_MAX {
            self.without_image.clear();
        }
        if self.without_image.insert(mac, arch) != Some(arch) {
            tracing::warn!(event = "no_image", %mac, %arch, "{}", requester.no_image());
        }
    }

    fn fetched(&self, now: Timestamp, mac: Option<Mac>, event: &Event) {
        let Event::Fetched { peer, image, outcome, bytes, took, retransmits } = event else { return };
        let machine = mac.and_then(|mac| self.machines.get(&mac));
        let arch = machine.map(|machine| machine.arch.to_string());
        let who = machine.map(|machine| machine.client.as_str());
        let since_seen = machine.map(|machine| seconds(now.since(machine.first_seen)));
        let (mac, address, file) = (text(mac), peer.address.ip(), image.name());
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match outcome {
            TransferOutcome::Complete | TransferOutcome::CompleteUnconfirmed => {
                tracing::info!(event = "fetched", mac, arch, client = who, %address, %file, bytes, ms, retransmits, since_seen, "fetched a file");
            }
            TransferOutcome::Probe => {
                tracing::debug!(event = "probed", mac, arch, client = who, %address, %file, "asked for the file's size only");
            }
            TransferOutcome::Aborted(code) => {
                tracing::info!(event = "aborted", mac, arch, client = who, %address, %file, bytes, ms, retransmits, %code, "aborted a transfer");
            }
            TransferOutcome::TimedOut | TransferOutcome::Superseded => {
                let why = if matches!(outcome, TransferOutcome::TimedOut) {
                    "the client stopped answering"
                } else {
                    "the client began again"
                };
                tracing::warn!(event = "failed", mac, arch, client = who, %address, %file, bytes, ms, retransmits, "{why} in the middle of a transfer");
            }
        }
    }
}

/// Whether the event is a request for a name that boot programs only try, and that does not exist.
fn is_look_up(event: &Event) -> bool {
    matches!(event, Event::Refused { name, refusal: Refusal::NotFound, .. } if is_looked_for(&name.to_string()))
}

fn kind(event: &Event) -> Kind {
    match event {
        Event::Fetched {
            outcome: TransferOutcome::Complete | TransferOutcome::CompleteUnconfirmed | TransferOutcome::Probe,
            ..
        }
        | Event::Offered { .. }
        | Event::StyleLearnt { .. } => Kind::News,
        _ => Kind::Warning,
    }
}

fn text(mac: Option<Mac>) -> Option<String> {
    mac.map(|mac| mac.to_string())
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
