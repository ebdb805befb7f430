//! Tests of one machine: a sequence of events and times, and the state after each.

mod clock;
mod verdicts;

use std::net::Ipv4Addr;

use super::*;
use crate::board::TestOutcome as Memory;
use crate::event::{OfferKind, Requester, Transport, Unanswered};
use crate::mtlog::Line;
use crate::report::{Report, ReportedError, Stage};
use pxe_content::boot::{Refusal, Role};
use pxe_proto::dhcp::{Arch, Style};
use pxe_proto::tftp::packet::ErrorCode;
use pxe_proto::tftp::send_session::TransferOutcome;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const START: u64 = 1_000_000_000;

/// A machine with its changes, and a clock in seconds.
struct Life {
    machine: Machine,
    change_log: ChangeLog,
    now: u64,
    /// By how many milliseconds the wall clock was set.
    set: i64,
}

impl Life {
    fn new() -> Self {
        Self { machine: Machine::new(UnixMs(START), MAC), change_log: ChangeLog::new(1), now: 0, set: 0 }
    }

    fn at(&self) -> UnixMs {
        UnixMs((START + self.now * 1000).saturating_add_signed(self.set))
    }

    /// Lets `seconds` pass, with one tick in each. After a tick that says that no timer runs, nothing changes.
    fn wait(&mut self, seconds: u64) -> &mut Self {
        let mut runs = true;
        for _ in 0..seconds {
            self.now += 1;
            let at = self.at();
            let before = (self.machine.shown.state, self.machine.shown.why.clone());
            let still_runs = self.machine.tick(at, 60_000, &mut self.change_log);
            let after = (self.machine.shown.state, self.machine.shown.why.clone());
            assert!(runs || before == after && !still_runs, "no timer ran: {before:?}, {after:?}");
            runs = still_runs;
        }
        self
    }

    fn told(&mut self, client: Client, what: OfferKind, file: &str) -> &mut Self {
        let requester = Requester { client, rule: Some("lab".into()), ..Requester::new(MAC, Arch::X64) };
        let told = LastReply { requester: &requester, what, file, style: Style::Direct, ack: false };
        self.machine.told(self.at(), &told, &mut self.change_log);
        self
    }

    fn pxe(&mut self, file: &str) -> &mut Self {
        self.told(Client::Pxe, OfferKind::Boot, file)
    }

    fn ended(&mut self, file: &str, role: Role, outcome: TransferOutcome) -> &mut Self {
        let transfer = FinishedTransfer {
            file: file.into(),
            role,
            in_images_folder: file.contains('/'),
            transport: Transport::Tftp,
            outcome,
            bytes: 1000,
            took_ms: 500,
            retransmits: 1,
        };
        self.machine.fetched(self.at(), &transfer, &mut self.change_log);
        self
    }

    fn fetched(&mut self, file: &str, role: Role) -> &mut Self {
        self.ended(file, role, TransferOutcome::Complete)
    }

    /// `bytes` of the 1000 bytes of a payload have arrived.
    fn loading(&mut self, file: &str, bytes: u64, all_sent: bool) -> &mut Self {
        let (file, role) = (file.to_owned(), Role::Payload);
        let incoming = ActiveTransfer { file, role, in_images_folder: false, bytes, size: 1000, all_sent };
        self.machine.loading(self.at(), &incoming, &mut self.change_log);
        self
    }

    fn refused(&mut self, file: &str, refusal: Refusal) -> &mut Self {
        self.machine.refused(self.at(), file, refusal, &mut self.change_log);
        self
    }

    fn report(&mut self, stage: Stage, change: impl FnOnce(&mut Report)) -> &mut Self {
        let mut report: Report = serde_json::from_str(r#"{"stage":"start"}"#).unwrap();
        report.stage = stage;
        change(&mut report);
        self.machine.reported(self.at(), &report, &mut self.change_log);
        self
    }

    fn says(&mut self, line: &str) -> &mut Self {
        let line = format!("MTLOG ts=1.0 {line}");
        self.machine.line(self.at(), &Line::parse(&line).unwrap(), &mut self.change_log);
        self
    }

    #[track_caller]
    fn is(&mut self, state: State) -> &mut Self {
        assert_eq!(self.machine.shown.state, state, "{:?}", self.machine.shown.why);
        self
    }

    #[track_caller]
    fn because(&mut self, words: &str) -> &mut Self {
        let why = self.machine.shown.why.as_deref().unwrap_or_default();
        assert!(why.contains(words), "{why:?} without {words:?}");
        self
    }

    fn booted(&mut self) -> &mut Self {
        self.pxe("ipxe.efi").fetched("ipxe.efi", Role::Loader);
        self.wait(5).told(Client::Ipxe, OfferKind::Boot, "boot.ipxe").fetched("boot.ipxe", Role::Config);
        self.fetched("memtest", Role::Payload)
    }

    fn credit(&self) -> u32 {
        self.machine.boot_record.boots_by("lab")
    }
}

#[test]
fn the_whole_life_from_pxe_over_ipxe_to_a_verdict() {
    let mut life = Life::new();
    life.is(State::Seen).pxe("ipxe.efi").is(State::Offered).wait(4).pxe("ipxe.efi").is(State::Offered);
    life.ended("ipxe.efi", Role::Loader, TransferOutcome::Probe).is(State::Loading);
    life.fetched("ipxe.efi", Role::Loader).is(State::Loading).wait(5);
    life.told(Client::Ipxe, OfferKind::Boot, "boot.ipxe").is(State::Offered);
    life.fetched("boot.ipxe", Role::Config).is(State::Loading);
    life.loading("memtest", 500, false);
    life.now += 1;
    // Another event does not change what the rate is measured from.
    life.machine.heard(life.at(), &mut life.change_log);
    life.loading("memtest", 900, false);
    assert_eq!(life.machine.shown.progress.as_ref().map(|progress| progress.bytes_per_s), Some(400));
    life.fetched("memtest", Role::Payload).is(State::Running);
    assert_eq!((life.machine.shown.boots, life.machine.shown.completed, life.credit()), (1, 1, 1));
    assert_eq!(life.machine.shown.progress, None);
    let boot = &life.machine.boots[0];
    assert_eq!(
        (boot.offer_ms, boot.load_ms, boot.bytes, boot.retransmits),
        (Some(3500), Some(6500), 4000, 4)
    );
    life.report(Stage::Start, |report| report.serial = Some("SN1".into())).is(State::Running);
    life.report(Stage::Progress, |report| report.percent = Some(50));
    life.report(Stage::Done, |report| report.pass = Some(true)).is(State::Passed);
    assert_eq!((life.machine.boots[0].outcome.as_deref(), life.credit()), (Some("passed"), 1));
    // The test has passed, so returning to PXE is no reset.
    life.wait(30).told(Client::Pxe, OfferKind::Local, "").is(State::Local);
    assert_eq!((life.machine.shown.boots, life.machine.facts().local), (1, true));
    // iPXE fetches a script that sends it to the disk. It is not expected to fetch anything else.
    life.told(Client::Ipxe, OfferKind::Local, "boot.ipxe")
        .fetched("boot.ipxe", Role::Config)
        .is(State::Local);
    life.wait(120).is(State::Local);
}

#[test]
fn a_machine_that_comes_back_is_returned_until_it_runs_again_and_the_count_stays() {
    let mut life = Life::new();
    life.booted().is(State::Running).wait(300);
    life.pxe("ipxe.efi").is(State::Returned).because("returned to PXE after 300 s of its test");
    assert_eq!(life.machine.boots[1].outcome.as_deref(), Some("reset"));
    life.fetched("ipxe.efi", Role::Loader).is(State::Returned);
    life.wait(5).told(Client::Ipxe, OfferKind::Boot, "boot.ipxe").is(State::Returned);
    life.fetched("memtest", Role::Payload).is(State::Running).because("reset once before");
    life.wait(10).pxe("ipxe.efi").is(State::Returned);
    life.booted().is(State::Running).because("reset 2 times before");
    life.machine.again(life.at(), &mut life.change_log);
    assert_eq!((life.credit(), life.machine.returns), (0, 0));
}

#[test]
fn firmware_that_is_ipxe_itself_returns_too_and_a_local_answer_is_no_return() {
    let mut life = Life::new();
    life.told(Client::Ipxe, OfferKind::Boot, "x").fetched("x", Role::Payload).is(State::Running);
    life.wait(20).told(Client::Ipxe, OfferKind::Boot, "x").is(State::Returned);
    let mut life = Life::new();
    life.booted().wait(20).told(Client::Pxe, OfferKind::Local, "").is(State::Local);
}

/// HTTP boot that loads iPXE is a chain. So is any other change of the client's kind soon after a transfer,
/// before the payload has arrived.
#[test]
fn a_chain_is_one_boot() {
    let mut life = Life::new();
    life.told(Client::Http, OfferKind::Boot, "u")
        .fetched("ipxe.efi", Role::Other)
        .wait(16)
        .is(State::Running);
    life.wait(10)
        .told(Client::Ipxe, OfferKind::Boot, "s")
        .is(State::Offered)
        .fetched("memtest", Role::Payload);
    assert_eq!((life.machine.shown.boots, life.machine.shown.completed, life.credit()), (1, 1, 1));
}

#[test]
fn a_boot_counts_once_and_only_when_its_last_byte_was_acknowledged() {
    let mut life = Life::new();
    life.pxe("memtest")
        .ended("memtest", Role::Payload, TransferOutcome::CompleteUnconfirmed)
        .is(State::Running);
    assert_eq!((life.machine.shown.completed, life.credit()), (1, 0));
    life.report(Stage::Done, |report| report.pass = Some(true)).is(State::Passed);
    assert_eq!(life.credit(), 0, "anybody can post a report: only the payload counts");
    life.pxe("memtest").fetched("memtest", Role::Payload).fetched("memtest", Role::Payload);
    assert_eq!((life.machine.shown.completed, life.credit()), (2, 1));
}

#[test]
fn without_a_payload_it_runs_when_it_asks_for_nothing_more() {
    let mut life = Life::new();
    life.pxe("linux.0").fetched("vmlinuz", Role::Other).wait(10).fetched("initrd", Role::Other).wait(14);
    life.is(State::Loading).wait(1).is(State::Running);
    // Until the last file, without the pause after it.
    assert_eq!(life.machine.boots[0].load_ms, Some(10_000));
    assert_eq!((life.machine.shown.completed, life.credit()), (1, 0));
    life.fetched("more", Role::Other).is(State::Loading).wait(15).is(State::Running);
    assert_eq!(life.machine.boots[0].load_ms, Some(25_000));
    assert_eq!(life.machine.shown.completed, 1);
}

#[test]
fn what_breaks_off_is_a_failure_only_if_nothing_mends_it() {
    for outcome in
        [TransferOutcome::Aborted(ErrorCode(0)), TransferOutcome::TimedOut, TransferOutcome::Superseded]
    {
        let mut life = Life::new();
        life.pxe("a").fetched("a", Role::Loader).ended("b", Role::Other, outcome).wait(19).is(State::Loading);
        life.fetched("b", Role::Other).wait(15).is(State::Running);
        let mut life = Life::new();
        life.pxe("a").ended("a", Role::Other, outcome).wait(20).is(State::Failed).because("a");
        life.pxe("a").is(State::Failed).fetched("a", Role::Loader).is(State::Loading);
    }
    let mut life = Life::new();
    life.pxe("a").ended("a", Role::Loader, TransferOutcome::Probe).wait(30).is(State::Loading);
}

#[test]
fn a_boot_that_stops_says_where() {
    let mut life = Life::new();
    life.pxe("x.efi").wait(30).pxe("x.efi").wait(29).is(State::Offered).wait(1);
    life.is(State::Failed).because("was offered x.efi and requested nothing");
    life.wait(100).pxe("x.efi").is(State::Failed).fetched("x.efi", Role::Other).is(State::Loading);

    let mut life = Life::new();
    life.pxe("pxelinux.0")
        .fetched("pxelinux.0", Role::Loader)
        .refused("pxelinux.cfg/01-02-00-00-00-00-01", Refusal::NotFound)
        .is(State::Loading)
        .refused("pxelinux.cfg/default", Refusal::NotFound);
    let said = "PXELINUX found no configuration: none of pxelinux.cfg/01-02-00-00-00-00-01, pxelinux.cfg/default is there";
    life.is(State::Failed).because(said);
    assert!(life.change_log.changes.steps.iter().any(|step| step.event == "no_config"));

    // GRUB first looks in its own folder, then below its prefix.
    let mut life = Life::new();
    life.pxe("grubx64.efi").fetched("grubx64.efi", Role::Loader).refused("grub.cfg", Refusal::NotFound);
    life.because("GRUB found no configuration").fetched("grub/grub.cfg", Role::Config).wait(30);
    life.is(State::Loading);
    assert_eq!(life.machine.shown.why, None);

    // A request for a misspelt name is a step. A request for a name that boot loaders only try is none.
    let mut life = Life::new();
    life.pxe("x.efi").fetched("x.efi", Role::Loader).refused("lab/memtset", Refusal::NotFound);
    life.refused("lab/grub.cfg-01-52-54-00-99-00-10", Refusal::NotFound);
    let steps: Vec<_> = life.change_log.changes.steps.iter().map(|step| step.text.as_str()).collect();
    assert!(steps.contains(&"requested lab/memtset, which does not exist"), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("grub.cfg")), "{steps:?}");

    let mut life = Life::new();
    life.pxe("/x.efi").refused("x.efi", Refusal::NotFound).is(State::Failed).because("x.efi was refused");

    let mut life = Life::new();
    life.pxe("a").fetched("a", Role::Loader).refused("b", Refusal::NotReadable).wait(20);
    life.is(State::Failed).because("chmod o+r");

    let mut life = Life::new();
    life.told(Client::Pxe, OfferKind::Menu, "x").wait(600).is(State::Offered);
}

#[test]
fn rules_and_missing_images_are_told_apart() {
    let requester = Requester::new(MAC, Arch::ARM64);
    let mut life = Life::new();
    life.machine.unanswered(life.at(), &requester, Unanswered::Rule, &mut life.change_log);
    life.is(State::Ignored);
    life.machine.unanswered(life.at(), &requester, Unanswered::NoImage, &mut life.change_log);
    life.is(State::Failed).because("--boot-file arm64=NAME").pxe("x").is(State::Offered);
}

/// The last ACK of the payload was lost, and the test reports before the server times out.
#[test]
fn a_late_end_of_a_transfer_does_not_begin_a_new_test() {
    let mut life = Life::new();
    life.pxe("memtest")
        .report(Stage::Start, |_| ())
        .report(Stage::Error, |report| report.error_count = Some(1));
    life.is(State::Failed)
        .ended("memtest", Role::Payload, TransferOutcome::CompleteUnconfirmed)
        .is(State::Failed);
    life.report(Stage::Progress, |_| ()).is(State::Failed);
    assert_eq!(life.machine.shown.verdict.as_ref().map(|verdict| verdict.errors), Some(1));
}

#[test]
fn what_is_written_down_is_read_back() {
    let mut life = Life::new();
    life.booted().says("ev=start version=9");
    life.machine.at_address(Ipv4Addr::new(10, 0, 0, 9));
    let text = serde_json::to_string(&life.machine).unwrap();
    let mut read: Machine = serde_json::from_str(&text).unwrap();
    read.resume(UnixMs(START + 500_000), MAC);
    assert_eq!(
        (read.shown.clone(), read.attempt.clone(), read.client),
        (life.machine.shown.clone(), life.machine.attempt.clone(), Some(Client::Ipxe))
    );
    // pxed did not run in between, so the test is not silent yet.
    read.tick(UnixMs(START + 559_000), 60_000, &mut life.change_log);
    assert_eq!(read.shown.state, State::Running);
    read.tick(UnixMs(START + 560_000), 60_000, &mut life.change_log);
    assert_eq!(read.shown.state, State::Silent);
}

/// iPXE starts a kernel before it sends its last ACK.
#[test]
fn a_payload_whose_end_is_not_acknowledged_is_no_endless_loading() {
    let mut life = Life::new();
    life.pxe("memtest").loading("memtest", 900, true).is(State::Loading).wait(2);
    life.loading("memtest", 900, true).is(State::Loading).wait(1);
    life.loading("memtest", 900, true).is(State::Running).because("has not acknowledged");
    assert_eq!((life.machine.shown.progress.clone(), life.machine.shown.completed), (None, 0));
    life.wait(30).ended("memtest", Role::Payload, TransferOutcome::CompleteUnconfirmed).is(State::Running);
    assert_eq!(life.machine.shown.completed, 1);
    // pxed ends, and the next process knows nothing of the transfer.
    let mut life = Life::new();
    life.pxe("memtest")
        .loading("memtest", 900, true)
        .wait(15)
        .is(State::Running)
        .wait(100)
        .is(State::Running);
    // A client that aborts the transfer had not loaded everything.
    let mut life = Life::new();
    life.pxe("memtest")
        .loading("memtest", 900, true)
        .wait(3)
        .loading("memtest", 900, true)
        .is(State::Running);
    life.ended("memtest", Role::Payload, TransferOutcome::Aborted(ErrorCode(0))).wait(20).is(State::Failed);
}

/// For example a person with curl, on a host that sent no DHCP request.
#[test]
fn who_looks_at_files_by_hand_is_no_machine_under_test() {
    let mut life = Life::new();
    life.fetched("memtest", Role::Payload).is(State::Seen).because("has not asked over DHCP");
    life.ended("memtest", Role::Payload, TransferOutcome::TimedOut).refused("x", Refusal::NotFound);
    life.wait(100).is(State::Seen);
    assert_eq!((life.machine.shown.boots, life.machine.shown.completed), (0, 0));
    // Now the same host boots from pxed.
    life.pxe("memtest").fetched("memtest", Role::Payload).is(State::Running);
    assert_eq!((life.machine.shown.boots, life.machine.shown.completed), (1, 1));
}

#[test]
fn another_images_payload_is_no_boot_of_this_one() {
    let mut life = Life::new();
    life.pxe("lab/x.efi");
    life.machine.shown.image = Some("lab".into());
    life.fetched("memory-test/linux", Role::Payload).is(State::Loading);
    assert_eq!((life.machine.shown.completed, life.credit()), (0, 0));
    life.fetched("lab/linux", Role::Payload).is(State::Running);
    assert_eq!((life.machine.shown.completed, life.credit()), (1, 1));
}
