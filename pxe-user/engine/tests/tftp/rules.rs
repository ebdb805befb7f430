//! Rules in the responder: which machine gets a reply, which events are reported, and what is learnt.

use std::sync::Arc;

use pxe_content::rules::{Action, MacPattern, Matcher, Policy, Rule, RuleLimits};
use pxe_fleet::event::{Event, OfferKind, Unanswered};
use pxe_fleet::handle::BootRecord;
use pxe_proto::dhcp::{Arch, BootFile, BootService, Ignored, Style};
use pxe_proto::mac::Mac;

use crate::support::*;

const OVMF: Mac = Mac([0x52, 0x54, 0, 0x99, 0, 0x10]);

fn discover() -> Vec<u8> {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/packets/dhcp/ovmf-discover.bin");
    std::fs::read(path).unwrap()
}

fn service() -> BootService {
    let mut service = BootService::new(SERVER);
    service.programs.set(Arch::X64, BootFile::new("file").unwrap().into());
    service
}

fn rule(name: &str, action: Action) -> Rule {
    Rule {
        name: name.into(),
        matcher: Matcher::default(),
        action,
        image: None,
        style: None,
        boots: None,
        limits: RuleLimits::default(),
    }
}

fn boot() -> Action {
    Action::Boot(Box::new(service()))
}

fn local() -> BootService {
    BootService { local: pxe_proto::dhcp::Menu::local().ok(), ..BootService::new(SERVER) }
}

fn lab(rules: Vec<Rule>) -> Lab {
    let mut lab = Lab::new(&[("file", &content(3000))]);
    lab.sources.policy.store(Arc::new(Policy::new(rules, service(), local(), None)));
    lab.notes.events.clear();
    lab
}

#[test]
fn who_is_not_ours_gets_silence_and_is_told_of() {
    for rules in [
        vec![rule("not ours", Action::Ignore)],
        vec![Rule {
            matcher: Matcher { vlan: vec![7], ..Matcher::default() },
            ..rule("another network", boot())
        }],
    ] {
        let name = (rules[0].action == Action::Ignore).then(|| rules[0].name.clone());
        let mut lab = lab(rules);
        assert!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover()).is_empty());
        assert_eq!(lab.count(Ignored::Rule), 1);
        let [Event::Unanswered { requester, why: Unanswered::Rule }] = &lab.notes.events[..] else {
            panic!("{:?}", lab.notes.events)
        };
        assert_eq!((requester.mac, requester.rule.clone(), &*requester.interface), (OVMF, name, "lab0"));
    }
}

#[test]
fn a_rules_name_and_image_are_in_what_is_told() {
    let mut lab = lab(vec![Rule { image: Some("memtest".into()), ..rule("all", boot()) }]);
    assert_eq!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover()).len(), 1);
    let [Event::Offered { requester, what: OfferKind::Boot, file, .. }] = &lab.notes.events[..] else {
        panic!("{:?}", lab.notes.events)
    };
    assert_eq!(
        (requester.rule.as_deref(), requester.image.as_deref(), &**file),
        (Some("all"), Some("memtest"), "file")
    );
    assert!(
        requester.uuid.is_some() && requester.firmware.starts_with("PXEClient:Arch:00007"),
        "{requester:?}"
    );
}

#[test]
fn who_has_booted_often_enough_boots_its_disk() {
    let mut lab = lab(vec![Rule { boots: Some(1), ..rule("once", boot()) }]);
    let mut telling = |boots: u32| {
        let record = BootRecord { boots: vec![("once".into(), boots), ("other".into(), 9)], style: None };
        lab.sources.boot_records.store(Arc::new([(OVMF, record)].into_iter().collect()));
        lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover());
        match lab.notes.events.last() {
            Some(Event::Offered { what, .. }) => *what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([telling(0), telling(1), telling(0)], [OfferKind::Boot, OfferKind::Local, OfferKind::Boot]);
}

/// What an earlier run has learnt is used, and what is learnt now is reported once.
#[test]
fn a_machine_that_wants_binl_is_remembered() {
    let mut lab = lab(vec![rule("all", boot())]);
    for _ in 0..4 {
        lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover());
        lab.wait(4000);
    }
    let learnt = |event: &&Event| matches!(event, Event::StyleLearnt { mac: OVMF, style: Some(Style::Binl) });
    assert_eq!(lab.notes.events.iter().filter(learnt).count(), 1, "{:?}", lab.notes.events);

    let mut again = self::lab(vec![rule("all", boot())]);
    let record = BootRecord { style: Some(Style::Binl), ..BootRecord::default() };
    again.sources.boot_records.store(Arc::new([(OVMF, record)].into_iter().collect()));
    again.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover());
    let Some(Event::Offered { style, .. }) = again.notes.events.last() else { panic!("nothing was told") };
    assert_eq!(*style, Style::Binl);
}

#[test]
fn a_rule_limits_what_tftp_grants_to_its_machines() {
    let limited = Rule {
        matcher: Matcher { mac: vec![MacPattern::Whole(MAC)], ..Matcher::default() },
        limits: RuleLimits { blksize: Some(512), windowsize: Some(1) },
        ..rule("odd cards", boot())
    };
    let mut lab = lab(vec![limited]);
    let (_, said) = lab.ask("file", &[("blksize", "1468"), ("windowsize", "16")]);
    assert_eq!(said, Said::Oack("blksize 512 windowsize 1 ".into()));
}

/// When rules and files are replaced, running transfers continue as they began.
#[test]
fn replacing_the_rules_disturbs_no_transfer() {
    let mut lab = lab(vec![rule("all", boot())]);
    let (port, _) = lab.ask("file", &[("blksize", "1024")]);
    lab.sources.policy.store(Arc::new(Policy::new(
        vec![rule("none", Action::Ignore)],
        service(),
        local(),
        None,
    )));
    let mut blocks = 0;
    for block in 0..3u16 {
        blocks += lab.say(port, &ack(block)).len();
    }
    assert_eq!(blocks, 3);
    assert!(lab.say_as(DHCP_CLIENT, DHCP_SERVERS, &discover()).is_empty());
}
