//! [`Registry`]: all machines. It finds the machine that an event is about, runs the timers, and forgets
//! machines when there are too many. Pure: `now` is an argument. The fleet's thread owns it.

mod last_seen;
mod others;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::absence::Absence;
use super::board::UnixMs;
use super::changes::{ChangeLog, Changes, Draft};
use super::claim::{Claim, ClaimRefusal};
use super::event::{Event, Origin, Peer, Requester};
use super::handle::{BootRecords, FactsRequest, MachineSelector, NameError};
use super::machine::{ActiveTransfer, FinishedTransfer, LastReply, Machine};
use super::mtlog::Line;
use super::report::Report;
use super::text::{clean, clean_some};
use last_seen::LastSeen;
use pxe_content::boot::MachineFacts;
use pxe_content::boot::Nonce;
use pxe_proto::mac::Mac;

/// Maximum number of this responder's machines. Beyond that the registry forgets strangers, so that a flood of invented
/// addresses cannot use up the memory. Machines of other responders have a limit of their own.
pub(crate) const MACHINES_MAX: usize = 65536;
/// How many machines are forgotten at once. During a flood, the registry then need not search for the oldest
/// machine at each packet.
const FORGOTTEN_AT_ONCE: usize = 4096;
/// Maximum number of routers. A site has a handful.
const ROUTERS_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct Registry {
    machines: HashMap<Mac, Machine>,
    /// Which of them belong to other responders of a shared ledger.
    foreign: HashSet<Mac>,
    by_address: HashMap<Ipv4Addr, Mac>,
    boot_records: BootRecords,
    boot_records_changed: bool,
    /// Names of the images that machines were offered, as the configuration has them.
    images: HashSet<Arc<str>>,
    /// Some machine was seen behind a relay, so the sender of a frame may be a router.
    relayed: bool,
    /// Ethernet addresses of frames that came from relays.
    routers: HashSet<Mac>,
    silence: u64,
    last_seen: LastSeen,
    change_log: ChangeLog,
    /// This responder's name in a shared ledger. Empty without one.
    responder: String,
}

impl Registry {
    /// Creates an empty registry. A test counts as silent after `silence`. The first step has the number
    /// `first_step`.
    pub(crate) fn new(silence: Duration, first_step: u64) -> Self {
        Self {
            machines: HashMap::new(),
            foreign: HashSet::new(),
            by_address: HashMap::new(),
            boot_records: BootRecords::default(),
            boot_records_changed: false,
            images: HashSet::new(),
            relayed: false,
            routers: HashSet::new(),
            silence: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
            last_seen: LastSeen::default(),
            change_log: ChangeLog::new(first_step),
            responder: String::new(),
        }
    }

    /// Returns the changes since the last call. Machines that have changed here belong to this responder from now on, so what
    /// is written is always ours.
    pub(crate) fn take_changes(&mut self) -> Changes {
        for mac in &self.change_log.changes.machines {
            self.machines.get_mut(mac).into_iter().for_each(Machine::take_over);
            self.foreign.remove(mac);
        }
        std::mem::take(&mut self.change_log.changes)
    }

    /// The changes that have not been taken yet.
    pub(crate) fn changes(&mut self) -> &mut Changes {
        &mut self.change_log.changes
    }

    /// Returns all boot records, if any has changed since the last call.
    pub(crate) fn take_boot_records(&mut self) -> Option<BootRecords> {
        std::mem::take(&mut self.boot_records_changed).then(|| self.boot_records.clone())
    }

    pub(crate) fn machine(&self, mac: Mac) -> Option<&Machine> {
        self.machines.get(&mac)
    }

    /// All machines, in no order.
    pub(crate) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// Continues the numbers of steps after the last stored one.
    pub(crate) fn continue_after(&mut self, last_step: u64) {
        self.change_log.continue_after(last_step);
    }

    /// Adds machines that an earlier process stored. Call it once only: a machine that was seen since the
    /// start keeps its present state and gets the stored counts added, so a second call would count them
    /// twice. `absence` says how long ago they were stored; the wall clock cannot, because it may be wrong.
    pub(crate) fn resume(&mut self, now: UnixMs, machines: Vec<Machine>, absence: Option<Absence>) {
        self.last_seen.begin(now);
        for mut before in machines {
            let mac = before.mac;
            if self.is_full() && !self.machines.contains_key(&mac) {
                continue;
            }
            match self.machines.get_mut(&mac) {
                Some(machine) => {
                    machine.merge(before);
                    self.change_log.touch(mac);
                }
                None => {
                    self.last_seen.add(mac, before.shown.last_seen, absence);
                    before.resume(now, mac);
                    self.machines.insert(mac, before);
                    self.change_log.resumed(mac);
                }
            }
            let Some(machine) = self.machines.get(&mac) else { continue };
            self.images.extend(machine.shown.image.as_deref().map(Arc::from));
            self.relayed |= machine.shown.relay.is_some();
            if let Some(address) = machine.address() {
                self.by_address.entry(address).or_insert(mac);
            }
            self.stand(mac);
        }
    }

    /// Applies an event. `neighbour` finds the Ethernet address of an IP address, where a plain socket hides
    /// the frame's source.
    pub(crate) fn apply(&mut self, now: UnixMs, event: &Event, neighbour: impl Fn(Ipv4Addr) -> Option<Mac>) {
        match event {
            Event::Offered { requester, what, file, style, ack } => {
                if !self.met(now, requester) {
                    return;
                }
                self.images.extend(requester.image.clone());
                let told = LastReply { requester, what: *what, file, style: *style, ack: *ack };
                self.with(now, requester.mac, |machine, change_log| machine.told(now, &told, change_log));
            }
            Event::Unanswered { requester, why } => {
                if !self.met(now, requester) {
                    return;
                }
                self.with(now, requester.mac, |machine, change_log| {
                    machine.unanswered(now, requester, *why, change_log)
                });
            }
            Event::Leased { mac, origin, address } => {
                // All hosts take leases, so a lease does not create a machine.
                let Some(machine) = self.machines.get_mut(mac).filter(|machine| machine.may_come(*origin))
                else {
                    return;
                };
                let before = machine.address();
                machine.at_address(*address);
                self.settle(*mac, before, *address);
                self.change_log.touch(*mac);
            }
            Event::StyleLearnt { mac, style } => {
                self.with(now, *mac, |machine, change_log| machine.learnt(now, *style, change_log));
            }
            Event::Loading { peer, image, bytes, all_sent } => {
                let Some(mac) = self.seen(peer, neighbour) else { return };
                let file = clean(&image.name().to_string());
                let incoming = ActiveTransfer {
                    in_images_folder: self.is_in_images_folder(&file),
                    file,
                    role: image.role(),
                    bytes: *bytes,
                    size: image.len(),
                    all_sent: *all_sent,
                };
                self.with(now, mac, |machine, change_log| machine.loading(now, &incoming, change_log));
            }
            Event::Fetched { peer, image, outcome, bytes, took, retransmits } => {
                let Some(mac) =
                    self.seen(peer, neighbour).filter(|mac| self.machines.contains_key(mac) || *bytes > 0)
                else {
                    return;
                };
                let file = clean(&image.name().to_string());
                let transfer = FinishedTransfer {
                    in_images_folder: self.is_in_images_folder(&file),
                    file,
                    role: image.role(),
                    transport: peer.transport,
                    outcome: *outcome,
                    bytes: *bytes,
                    took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                    retransmits: *retransmits,
                };
                self.with(now, mac, |machine, change_log| machine.fetched(now, &transfer, change_log));
            }
            Event::Refused { peer, name, refusal } => {
                // Anybody can request a missing name, so a refusal does not create a machine.
                let Some(mac) = self.seen(peer, neighbour).filter(|mac| self.machines.contains_key(mac))
                else {
                    return;
                };
                let name = clean(&name.to_string());
                self.with(now, mac, |machine, change_log| machine.refused(now, &name, *refusal, change_log));
            }
        }
    }

    /// Whether a file's first folder has the name of an image that some machine was offered.
    fn is_in_images_folder(&self, file: &str) -> bool {
        file.split_once('/').is_some_and(|(folder, _)| self.images.contains(folder))
    }

    /// Checks whether a sender may report or upload for a machine. A report does not create a machine,
    /// because anybody can post one.
    ///
    /// # Errors
    /// Why the claim is rejected.
    pub(crate) fn admits(&self, claim: &Claim) -> Result<&Machine, ClaimRefusal> {
        let machine = self.machines.get(&claim.mac).ok_or(ClaimRefusal::Unknown)?;
        machine.admits(claim)?;
        Ok(machine)
    }

    /// Applies a test's report.
    ///
    /// # Errors
    /// Why the report is rejected.
    pub(crate) fn reported(
        &mut self,
        now: UnixMs,
        claim: &Claim,
        report: &Report,
    ) -> Result<(), ClaimRefusal> {
        self.admits(claim)?.can_report(report.stage)?;
        self.with(now, claim.mac, |machine, change_log| machine.reported(now, report, change_log));
        Ok(())
    }

    /// Returns the facts about the machine that a file is generated for. `neighbour` is as for
    /// [`Self::apply`]. `fresh` makes a nonce, which only the machine itself receives.
    pub(crate) fn facts(
        &mut self,
        now: UnixMs,
        request: &FactsRequest,
        neighbour: impl Fn(Ipv4Addr) -> Option<Mac>,
        fresh: impl FnOnce() -> Option<Nonce>,
    ) -> Option<MachineFacts> {
        let requester = self.seen(&request.peer, neighbour);
        let mac = request.named.or(requester)?;
        let machine = self.machines.get_mut(&mac)?;
        let is_found_here = requester.is_none() && machine.may_be_anywhere();
        let is_itself = requester == Some(mac) || is_found_here;
        let nonce = if is_itself { machine.hand_out(now, fresh, &mut self.change_log) } else { None };
        let facts = MachineFacts { nonce, ..machine.facts() };
        if is_found_here {
            let address = *request.peer.address.ip();
            machine.at_address(address);
            self.settle(mac, None, address);
        }
        Some(facts)
    }

    /// Applies lines of a console. Returns the number of lines from a test, or `None` if the console's
    /// machine is unknown.
    pub(crate) fn lines(&mut self, now: UnixMs, who: &MachineSelector, lines: &[String]) -> Option<usize> {
        let parsed: Vec<_> = lines.iter().filter_map(|line| Line::parse(line)).collect();
        let mac = self.find(who).or_else(|| self.introduced(who, &parsed))?;
        self.with(now, mac, |machine, change_log| {
            for line in &parsed {
                machine.line(now, line, change_log);
            }
        });
        Some(parsed.len())
    }

    /// Finds the machine of an unknown console by the serial number in its lines, and remembers the console's
    /// name.
    fn introduced(&mut self, who: &MachineSelector, lines: &[Line<'_>]) -> Option<Mac> {
        let MachineSelector::Text(console) = who else { return None };
        let serial = lines.iter().find_map(|line| line.value("sys_serial")).and_then(clean_some)?;
        let mac = self.only(|machine| machine.shown.serial.as_ref() == Some(&serial))?;
        self.machines.get_mut(&mac)?.console = clean_some(console);
        Some(mac)
    }

    /// A file was stored in a machine's inbox.
    pub(crate) fn uploaded(&mut self, now: UnixMs, mac: Mac, file: &str, bytes: u64) {
        self.with(now, mac, |machine, change_log| machine.uploaded(now, file, bytes, change_log));
    }

    /// Sets or removes the name of a machine, which need not have been seen yet. Names are unique, so that
    /// each finds one machine.
    ///
    /// # Errors
    /// When another machine has the name, or when there is no such machine to remove a name from.
    pub(crate) fn name(&mut self, now: UnixMs, mac: Mac, name: Option<&str>) -> Result<(), NameError> {
        let name = name.and_then(clean_some);
        if let Some(wanted) = &name {
            let has = |known: &Option<String>| {
                known.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(wanted))
            };
            let holder =
                self.machines.values().find(|machine| machine.mac != mac && has(&machine.shown.name));
            if let Some(holder) = holder {
                return Err(NameError::Taken(holder.mac));
            }
        }
        if !self.machines.contains_key(&mac) {
            if name.is_none() {
                return Err(NameError::Unknown);
            }
            self.make_room();
            self.machines.insert(mac, Machine::expected(now, mac));
        }
        if let Some(machine) = self.machines.get_mut(&mac) {
            machine.name(now, name, &mut self.change_log);
        }
        Ok(())
    }

    /// Makes one machine, or all, boot by their rules from the beginning. Returns the number of machines.
    pub(crate) fn again(&mut self, now: UnixMs, which: Option<Mac>) -> usize {
        let macs: Vec<_> = match which {
            Some(mac) => self.machines.contains_key(&mac).then_some(mac).into_iter().collect(),
            None => self.machines.keys().copied().collect(),
        };
        for mac in &macs {
            self.with(now, *mac, |machine, change_log| machine.again(now, change_log));
        }
        macs.len()
    }

    /// Checks the timers of all machines. Returns whether one of them still runs: then it wants to be called again
    /// in about a second, and else after the next event only.
    pub(crate) fn tick(&mut self, now: UnixMs) -> bool {
        let mut runs = false;
        for (mac, machine) in &mut self.machines {
            // The responder of a foreign machine runs its timers.
            if machine.is_foreign() && !self.change_log.changes.machines.contains(mac) {
                continue;
            }
            runs |= machine.tick(now, self.silence, &mut self.change_log);
        }
        runs
    }

    /// The wall clock was set by `by` milliseconds. All times are shifted by the same amount, so durations
    /// stay right. Exception: the last-seen times of machines that only an earlier process saw are by the
    /// clock of then, and stay.
    pub(crate) fn clock_set(&mut self, by: i64) {
        // The times of foreign machines are by the clock of their responders.
        for (mac, machine) in self.machines.iter_mut().filter(|(_, machine)| !machine.is_foreign()) {
            let last_seen = machine.shown.last_seen;
            machine.clock_set(by);
            if self.last_seen.has(*mac) {
                machine.shown.last_seen = last_seen;
            }
            self.change_log.touch(*mac);
        }
        self.last_seen.clock_set(by);
        self.change_log.clock_set(by);
    }

    /// Forgets strangers that were not seen for `retention`. Other machines stay.
    pub(crate) fn expire(&mut self, now: UnixMs, retention: Duration) {
        let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        let old = |machine: &&Machine| {
            let unseen = self.last_seen.unseen(now, machine.mac, machine.shown.last_seen);
            machine.is_stranger() && !machine.is_foreign() && unseen > retention
        };
        let macs: Vec<_> = self.machines.values().filter(old).map(|machine| machine.mac).collect();
        macs.into_iter().for_each(|mac| self.forget(mac));
    }

    /// Returns the machine that a caller names.
    pub(crate) fn find(&self, who: &MachineSelector) -> Option<Mac> {
        match who {
            MachineSelector::Mac(mac) => self.machines.contains_key(mac).then_some(*mac),
            MachineSelector::Address(address) => self.by_address.get(address).copied(),
            MachineSelector::Text(words) => {
                let words = words.trim();
                if let Ok(mac) = words.to_ascii_lowercase().parse() {
                    return self.find(&MachineSelector::Mac(mac));
                }
                if let Ok(address) = words.parse() {
                    return self.find(&MachineSelector::Address(address));
                }
                let same = |known: &Option<String>| {
                    known.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(words))
                };
                // Names that a person gave come before names that machines report themselves.
                self.only(|machine| same(&machine.shown.name))
                    .or_else(|| self.only(|machine| same(&machine.console)))
                    .or_else(|| self.only(|machine| same(&machine.shown.serial)))
                    .or_else(|| self.only(|machine| same(&machine.shown.uuid)))
            }
        }
    }

    /// Returns the machine that matches, if exactly one does. Serial numbers such as "To be filled by O.E.M."
    /// match many machines, and so find none.
    fn only(&self, matches: impl Fn(&Machine) -> bool) -> Option<Mac> {
        let mut found = self.machines.values().filter(|machine| matches(machine));
        found.next().filter(|_| found.next().is_none()).map(|machine| machine.mac)
    }

    /// Handles the sender of a DHCP request. Returns whether the request can be the machine's own.
    fn met(&mut self, now: UnixMs, requester: &Requester) -> bool {
        if let (Some(_), Origin::Through(router)) = (requester.relay, requester.origin) {
            self.relayed = true;
            if self.routers.len() < ROUTERS_MAX {
                self.routers.extend(router);
            }
        }
        let machine = self.machines.get_mut(&requester.mac);
        if let Some(machine) = machine.filter(|machine| !machine.may_come(requester.origin)) {
            machine.doubted(now, requester.relay, &mut self.change_log);
            return false;
        }
        if let Some(address) = requester.address {
            self.settle(requester.mac, self.machines.get(&requester.mac).and_then(Machine::address), address);
        }
        true
    }

    /// Returns the machine that a client of files is, if that can be known. On the link its frames identify
    /// it. Behind a relay, the IP address from its own DHCP requests identifies it, because a router's frames
    /// may come from any machine behind it. As long as no relay was seen, an unknown source of frames is a
    /// new machine.
    pub(crate) fn owner(&self, peer: &Peer, neighbour: impl Fn(Ipv4Addr) -> Option<Mac>) -> Option<Mac> {
        let link = peer.link(neighbour).filter(|mac| !self.is_router(*mac));
        let known = link.filter(|mac| self.machines.contains_key(mac));
        let behind =
            || self.by_address.get(peer.address.ip()).filter(|mac| self.is_elsewhere(**mac)).copied();
        known.or_else(behind).or_else(|| link.filter(|_| !self.relayed))
    }

    /// Whether frames from relays have this address, and no DHCP request has come from the address itself.
    fn is_router(&self, mac: Mac) -> bool {
        self.routers.contains(&mac) && !self.machines.get(&mac).is_some_and(Machine::has_asked)
    }

    /// Whether a machine is known, and was never seen on the link.
    fn is_elsewhere(&self, mac: Mac) -> bool {
        self.machines.get(&mac).is_some_and(|machine| !machine.is_on_link())
    }

    /// The same as [`Self::owner`], and also records the IP address of a machine on the link.
    fn seen(&mut self, peer: &Peer, neighbour: impl Fn(Ipv4Addr) -> Option<Mac>) -> Option<Mac> {
        let address = *peer.address.ip();
        let (link, mac) = (peer.link(&neighbour), self.owner(peer, neighbour)?);
        if link == Some(mac)
            && let Some(machine) = self.machines.get_mut(&mac)
        {
            let before = machine.address();
            machine.on_link_at(address);
            self.settle(mac, before, address);
        }
        Some(mac)
    }

    /// Records that a machine has `address` now, and no longer the address `before`.
    fn settle(&mut self, mac: Mac, before: Option<Ipv4Addr>, address: Ipv4Addr) {
        if address.is_unspecified() {
            return;
        }
        if let Some(old) = before.filter(|old| *old != address && self.by_address.get(old) == Some(&mac)) {
            self.by_address.remove(&old);
        }
        self.by_address.insert(address, mac);
    }

    /// Changes a machine. Creates it first if it is new.
    fn with(&mut self, now: UnixMs, mac: Mac, change: impl FnOnce(&mut Machine, &mut ChangeLog)) {
        if !self.machines.contains_key(&mac) {
            self.make_room();
            self.machines.insert(mac, Machine::new(now, mac));
            self.change_log.step(now, mac, true, Draft::new("new", "was seen for the first time"));
            self.change_log.touch(mac);
        }
        if let Some(machine) = self.machines.get_mut(&mac) {
            let last_seen = machine.shown.last_seen;
            change(machine, &mut self.change_log);
            if machine.shown.last_seen != last_seen {
                self.last_seen.remove(mac);
            }
        }
        if std::mem::take(&mut self.change_log.changes.boot_records) {
            self.stand(mac);
        }
    }

    fn stand(&mut self, mac: Mac) {
        let Some(machine) = self.machines.get(&mac) else { return };
        if machine.boot_record == super::handle::BootRecord::default() {
            self.boot_records.remove_mut(&mac);
        } else {
            self.boot_records.insert_mut(mac, machine.boot_record.clone());
        }
        self.boot_records_changed = true;
    }

    /// Whether there is no room for another machine of this responder.
    fn is_full(&self) -> bool {
        self.machines.len() - self.foreign.len() >= MACHINES_MAX
    }

    /// The machines of this responder.
    fn own(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values().filter(|machine| !machine.is_foreign())
    }

    fn make_room(&mut self) {
        if !self.is_full() || self.forget_strangers() {
            return;
        }
        // Other machines are forgotten one at a time, and only if there are no strangers.
        let oldest = self.own().min_by_key(|machine| (machine.shown.last_seen, machine.mac));
        let oldest = oldest.map(|machine| machine.mac);
        oldest.into_iter().for_each(|mac| self.forget(mac));
    }

    /// Forgets the oldest strangers of this responder. Returns false if there are none.
    fn forget_strangers(&mut self) -> bool {
        let strangers = self.own().filter(|machine| machine.is_stranger());
        let mut order: Vec<_> = strangers.map(|machine| (machine.shown.last_seen, machine.mac)).collect();
        if order.len() > FORGOTTEN_AT_ONCE {
            order.select_nth_unstable(FORGOTTEN_AT_ONCE);
            order.truncate(FORGOTTEN_AT_ONCE);
        }
        for (_, mac) in &order {
            self.forget(*mac);
        }
        !order.is_empty()
    }

    fn forget(&mut self, mac: Mac) {
        let Some(machine) = self.machines.remove(&mac) else { return };
        self.foreign.remove(&mac);
        self.last_seen.remove(mac);
        if let Some(address) = machine.address().filter(|address| self.by_address.get(address) == Some(&mac))
        {
            self.by_address.remove(&address);
        }
        if self.boot_records.remove_mut(&mac) {
            self.boot_records_changed = true;
        }
        if machine.is_foreign() { self.change_log.drop(mac) } else { self.change_log.forget(mac) }
    }
}

#[cfg(test)]
mod tests;
