//! File transfers of a machine: which files complete a boot, and when a boot that stops has failed.

use super::{Attempt, Failure, Machine, since};
use crate::board::{Progress, State, UnixMs};
use crate::changes::{BootKey, ChangeLog, Counted, Draft};
use crate::event::Transport;
use pxe_content::boot::{Refusal, Role, is_looked_for, last_resort};
use pxe_proto::tftp::send_session::TransferOutcome;

/// A boot without a payload counts as complete if the machine requests nothing during this time.
const QUIET_MS: u64 = 15_000;
/// After a transfer broke off or a file was refused, the boot fails if no data arrives during this time. It
/// must not be shorter, because firmware tries again, and iPXE and GRUB close some transfers early.
const MENDED_MS: u64 = 20_000;
/// A machine that requests nothing during this time has stopped.
const STOPPED_MS: u64 = 60_000;

/// If a client has not acknowledged the end of its payload for so long, it never will: iPXE starts a kernel
/// before it sends its last ACK.
const UNCONFIRMED_MS: u64 = 3000;
/// Maximum number of names of a boot loader's search that are kept. PXELINUX tries about a dozen.
const LOOKED_FOR_MAX: usize = 16;

/// A transfer that is running.
#[derive(Clone, Debug)]
pub(crate) struct ActiveTransfer {
    /// The file's name, and its role in a boot.
    pub(crate) file: String,
    pub(crate) role: Role,
    /// See [`FinishedTransfer::in_images_folder`].
    pub(crate) in_images_folder: bool,
    /// Bytes that have arrived, and the file's size.
    pub(crate) bytes: u64,
    pub(crate) size: u64,
    /// All blocks have been sent, and only acknowledgements are missing.
    pub(crate) all_sent: bool,
}

/// A transfer that has ended, complete or not.
#[derive(Clone, Debug)]
pub(crate) struct FinishedTransfer {
    /// The file's name, and its role in a boot.
    pub(crate) file: String,
    pub(crate) role: Role,
    /// The file's first folder has the name of an image that some machine was offered.
    pub(crate) in_images_folder: bool,
    pub(crate) transport: Transport,
    /// How the transfer ended.
    pub(crate) outcome: TransferOutcome,
    /// Bytes that arrived, the duration in milliseconds, and retransmitted DATA packets.
    pub(crate) bytes: u64,
    pub(crate) took_ms: u64,
    pub(crate) retransmits: u64,
}

impl FinishedTransfer {
    fn step(&self) -> Draft<'_> {
        let Self { file, bytes, took_ms, retransmits, transport, .. } = self;
        Draft::new("fetched", format!("fetched {file}"))
            .fact("file", file.as_str())
            .fact("bytes", *bytes)
            .fact("ms", *took_ms)
            .fact("retransmits", *retransmits)
            .fact("over", if *transport == Transport::Http { "http" } else { "tftp" })
    }
}

impl Machine {
    /// A transfer is running.
    pub(crate) fn loading(&mut self, now: UnixMs, incoming: &ActiveTransfer, change_log: &mut ChangeLog) {
        let ActiveTransfer { file, bytes, size, .. } = incoming;
        let (bytes, size) = (*bytes, *size);
        if self.local || self.visits(now, change_log) {
            return self.heard(now, change_log);
        }
        if incoming.all_sent && incoming.role == Role::Payload && self.owns(file, incoming.in_images_folder) {
            let since_sent = since(now, *self.attempt.sent.get_or_insert(now));
            if since_sent >= UNCONFIRMED_MS {
                self.shown.progress = None;
                let why = format!(
                    "{file} was sent to its end, which the machine has not acknowledged: it may run already"
                );
                self.go(now, State::Running, Some(why), change_log);
                return;
            }
        }
        self.asks(now, 0, change_log);
        self.attempt.trouble = None;
        let before = self.shown.progress.as_ref().filter(|progress| progress.file == *file);
        let elapsed = since(now, self.progress_at).max(1);
        self.progress_at = now;
        let bytes_per_s = match before {
            Some(before) if elapsed <= 5000 => {
                bytes.saturating_sub(before.bytes).saturating_mul(1000) / elapsed
            }
            _ => 0,
        };
        self.shown.progress = Some(Progress { file: file.clone(), bytes, size, bytes_per_s });
        self.go(now, State::Loading, None, change_log);
        self.heard(now, change_log);
    }

    /// A transfer has ended.
    pub(crate) fn fetched(&mut self, now: UnixMs, transfer: &FinishedTransfer, change_log: &mut ChangeLog) {
        if self.local || self.visits(now, change_log) {
            // This file does not count for a boot. For a machine that boots its own disk, it is the script or
            // configuration that says so. Otherwise the client is a visitor.
            self.step(now, change_log, transfer.step());
            return self.heard(now, change_log);
        }
        self.asks(now, transfer.took_ms, change_log);
        let (bytes, retransmits) = (transfer.bytes, transfer.retransmits);
        self.shown.retransmits += retransmits;
        self.boot_mut(change_log, |boot| {
            boot.bytes += bytes;
            boot.retransmits += retransmits;
        });
        if self.shown.progress.as_ref().is_some_and(|progress| progress.file == transfer.file) {
            self.shown.progress = None;
        }
        match transfer.outcome {
            TransferOutcome::Complete | TransferOutcome::CompleteUnconfirmed => {
                self.arrived(now, transfer, change_log)
            }
            // EDK2 first requests the file only to learn its size, and breaks that transfer off.
            TransferOutcome::Probe => self.go(now, State::Loading, None, change_log),
            TransferOutcome::Aborted(_) | TransferOutcome::TimedOut | TransferOutcome::Superseded => {
                self.broke_off(now, transfer, change_log);
            }
        }
        self.heard(now, change_log);
    }

    fn arrived(&mut self, now: UnixMs, transfer: &FinishedTransfer, change_log: &mut ChangeLog) {
        let FinishedTransfer { file, role, outcome, .. } = transfer;
        self.step(now, change_log, transfer.step());
        self.attempt.trouble = None;
        self.attempt.missing = None;
        self.attempt.looked_for.clear();
        match role {
            Role::Config => {}
            Role::Loader => self.attempt.loaders += 1,
            Role::Payload | Role::Other => self.attempt.files += 1,
        }
        if *role != Role::Config {
            self.attempt.last = Some(file.clone());
        }
        // The payload of another image is only a file. It must not count as a boot of this machine's rule.
        if *role != Role::Payload || !self.owns(file, transfer.in_images_folder) {
            if !self.attempt.payload {
                self.go(now, State::Loading, None, change_log);
            }
            return;
        }
        self.attempt.payload = true;
        self.attempt.sent = None;
        if *outcome == TransferOutcome::Complete {
            self.credit(change_log);
        }
        self.run(now, change_log);
    }

    fn owns(&self, file: &str, in_images_folder: bool) -> bool {
        let told = self.attempt.told.as_deref().unwrap_or_default();
        self.shown.image.as_deref().is_none_or(|image| belongs(file, told, image, in_images_folder))
    }

    /// All files have arrived, so the test should run now.
    fn run(&mut self, now: UnixMs, change_log: &mut ChangeLog) {
        if !self.attempt.completed {
            self.attempt.completed = true;
            self.shown.completed += 1;
        }
        let asked = self.attempt.asked;
        // A boot without a known payload counts as loaded when it has been quiet for a while. The pause is no loading.
        let end = if self.attempt.payload { now } else { self.attempt.active };
        self.boot_mut(change_log, |boot| {
            boot.load_ms = asked.map(|asked| since(end, asked));
            boot.outcome = Some("running".into());
        });
        self.shown.progress = None;
        if self.shown.verdict.is_some() && self.test_began() >= self.attempt.began {
            // The test reports already: the last ACK of the payload was lost or late.
            return;
        }
        self.ended = false;
        self.fresh = true;
        let why = self.resets();
        self.go(now, State::Running, why, change_log);
    }

    /// Counts this boot for its rule, once.
    pub(super) fn credit(&mut self, change_log: &mut ChangeLog) {
        let Some(rule) = self.shown.rule.as_deref().filter(|_| !self.attempt.credited) else { return };
        self.attempt.credited = true;
        match self.boot_record.boots.iter_mut().find(|(name, _)| **name == *rule) {
            Some((_, boots)) => *boots += 1,
            None => self.boot_record.boots.push((rule.into(), 1)),
        }
        change_log.changes.boot_records = true;
        let boot = self.attempt.nonce.map_or(BootKey::Began(self.attempt.began), BootKey::Nonce);
        let (mac, rule, epoch) = (self.mac, rule.to_owned(), self.epoch);
        change_log.changes.counted.push(Counted { mac, rule, boot, epoch });
    }

    fn broke_off(&mut self, now: UnixMs, transfer: &FinishedTransfer, change_log: &mut ChangeLog) {
        let FinishedTransfer { file, bytes, .. } = transfer;
        self.attempt.sent = None;
        let how = match transfer.outcome {
            TransferOutcome::Aborted(code) => {
                format!("aborted {file} after {bytes} bytes (TFTP error {})", code.0)
            }
            TransferOutcome::Superseded => {
                format!("restarted {file} after {bytes} bytes and did not finish it")
            }
            _ => format!("stopped answering while it loaded {file}, after {bytes} bytes"),
        };
        let draft = Draft::new("broken_off", how.clone()).fact("file", file.as_str()).fact("bytes", *bytes);
        self.step(now, change_log, draft);
        if !self.attempt.payload {
            self.attempt.trouble = Some((now, how));
        }
    }

    /// A request for a file was refused.
    pub(crate) fn refused(&mut self, now: UnixMs, file: &str, refusal: Refusal, change_log: &mut ChangeLog) {
        if self.local || self.visits(now, change_log) {
            return self.heard(now, change_log);
        }
        self.asks(now, 0, change_log);
        let told = self.attempt.told.as_deref().map(|told| told.trim_start_matches('/'));
        let program = told == Some(file.trim_start_matches('/'));
        if refusal != Refusal::NotFound || program {
            let why = format!("{file} was refused: {refusal}");
            let draft =
                Draft::new("refused", why.clone()).fact("file", file).fact("reason", refusal.as_str());
            self.step(now, change_log, draft);
            if program {
                self.fail(now, Failure::Boot, why, change_log);
            } else if !self.attempt.payload {
                self.attempt.trouble = Some((now, why));
            }
        } else {
            if is_looked_for(file) {
                self.looked_for(now, file, change_log);
            } else {
                let why = format!("requested {file}, which does not exist");
                let draft =
                    Draft::new("refused", why.clone()).fact("file", file).fact("reason", refusal.as_str());
                self.step(now, change_log, draft);
                if !self.attempt.payload {
                    self.go(now, State::Loading, Some(why), change_log);
                }
            }
            self.attempt.missing = Some(file.to_owned());
        }
        self.heard(now, change_log);
    }

    /// A boot loader requested a configuration file that does not exist. After the last such name the boot
    /// loader stops at its prompt, where nobody may see it.
    fn looked_for(&mut self, now: UnixMs, file: &str, change_log: &mut ChangeLog) {
        let names = &mut self.attempt.looked_for;
        if names.len() < LOOKED_FOR_MAX && !names.iter().any(|name| name == file) {
            names.push(file.to_owned());
        }
        let Some(loader) = last_resort(file).filter(|_| !self.attempt.payload) else { return };
        let why = format!("{loader} found no configuration: none of {} is there", names.join(", "));
        let known = self.attempt.trouble.as_ref().is_some_and(|(_, known)| *known == why);
        if !known {
            let draft = Draft::new("no_config", why.clone()).fact("loader", loader).fact("file", file);
            self.step(now, change_log, draft);
        }
        if loader == "PXELINUX" {
            // PXELINUX tries no other name. If a file arrives all the same, the failure ends.
            return self.fail(now, Failure::Boot, why, change_log);
        }
        self.go(now, State::Loading, Some(why.clone()), change_log);
        self.attempt.trouble = Some((now, why));
    }

    /// Whether this client is only a visitor: it has sent no DHCP request, and pxed has generated no file for
    /// it. A person who looks at the files with a browser is not a machine under test.
    fn visits(&mut self, now: UnixMs, change_log: &mut ChangeLog) -> bool {
        let visits = self.client.is_none() && self.attempt == Attempt::default();
        if visits {
            let why = "loads files, but has not asked over DHCP what to boot: no boot is counted";
            self.go(now, State::Seen, Some(why.to_owned()), change_log);
        }
        visits
    }

    /// The machine requests a file, or did so `took` milliseconds ago.
    fn asks(&mut self, now: UnixMs, took: u64, change_log: &mut ChangeLog) {
        self.begin_unasked(now, change_log);
        self.attempt.active = now;
        self.attempt.expected = false;
        if self.attempt.asked.is_none() {
            let asked = UnixMs(now.0.saturating_sub(took)).max(self.attempt.began);
            self.attempt.asked = Some(asked);
            let told = self.attempt.told_at != UnixMs(0);
            let offer = since(asked, self.attempt.began);
            self.boot_mut(change_log, |boot| boot.offer_ms = told.then_some(offer));
        }
    }

    /// Begins a boot at the first request if pxed sent no offer, because the boot file's name came from
    /// another server.
    pub(super) fn begin_unasked(&mut self, now: UnixMs, change_log: &mut ChangeLog) {
        if self.attempt.told_at == UnixMs(0) && self.attempt.began == UnixMs(0) {
            self.begin_boot(now, change_log);
            self.shown.boots += 1;
        }
    }

    /// Whether a timer of a boot runs.
    pub(super) fn is_waiting(&self) -> bool {
        let attempt = &self.attempt;
        let loading = matches!(self.shown.state, State::Offered | State::Loading | State::Returned);
        attempt.trouble.is_some()
            || loading && !attempt.payload && (attempt.expected || attempt.asked.is_some())
    }

    /// Checks the timers of a boot.
    pub(super) fn wait(&mut self, now: UnixMs, change_log: &mut ChangeLog) {
        if !self.is_waiting() {
            return;
        }
        let attempt = &self.attempt;
        if let Some((at, why)) = &attempt.trouble {
            if since(now, *at) >= MENDED_MS {
                let why = why.clone();
                self.fail(now, Failure::Boot, why, change_log);
            }
            return;
        }
        let quiet = since(now, attempt.active);
        let told = attempt.told.as_deref().unwrap_or("nothing");
        let last = attempt.last.as_deref().unwrap_or("its configuration");
        let why = if attempt.expected {
            if since(now, attempt.began) < STOPPED_MS {
                return;
            }
            format!(
                "was offered {told} and requested nothing: its firmware does not understand the offer, or its \
                 request does not reach this server"
            )
        } else if attempt.sent.is_some() || attempt.files > 0 && attempt.missing.is_none() {
            if quiet >= QUIET_MS {
                self.run(now, change_log);
            }
            return;
        } else if quiet < STOPPED_MS {
            return;
        } else if let Some(missing) = &attempt.missing {
            format!("fetched {last}, then requested {missing}, which does not exist, and nothing more")
        } else if attempt.loaders > 0 {
            format!("fetched {last}, then requested nothing more")
        } else {
            format!("was offered {told} but fetched no whole file")
        };
        self.fail(now, Failure::Boot, why, change_log);
    }
}

/// Whether a file may be part of `image`, judged by names. If the machine's program came from the image's own
/// folder, all its files are there. Otherwise they may be anywhere but in the folders of other images.
fn belongs(file: &str, told: &str, image: &str, in_images_folder: bool) -> bool {
    let folder = |name: &str| Some(name.trim_start_matches('/').split_once('/')?.0 == image);
    if folder(file) == Some(true) {
        return true;
    }
    !in_images_folder && folder(told) != Some(true)
}

#[cfg(test)]
mod tests {
    use super::belongs;

    #[test]
    fn a_file_belongs_to_its_own_image() {
        for (file, told, image, in_images_folder, own) in [
            ("lab/memtest", "lab/ipxe.efi", "lab", true, true),
            ("lab/memtest", "loader/ipxe.efi", "lab", true, true),
            ("memory-test/linux", "lab/ipxe.efi", "lab", true, false),
            ("memory-test/linux", "loader/ipxe.efi", "lab", true, false),
            ("memory-test/linux", "pxelinux.0", "lab", true, false),
            ("other/linux", "/lab/ipxe.efi", "lab", false, false),
            ("memtest", "lab/ipxe.efi", "lab", false, false),
            ("memtest", "pxelinux.0", "lab", false, true),
            ("installer/linux", "pxelinux.0", "lab", false, true),
        ] {
            assert_eq!(belongs(file, told, image, in_images_folder), own, "{file}, told {told}");
        }
    }
}
