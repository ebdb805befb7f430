//! The JSON that `pxed explain --json` prints.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::files::Row;
use super::machine::Program;
use super::reply;
use super::show;
use super::survey::Surveyed;
use super::trace::{ExplainContext, Trace};
use pxe_content::boot::{Preview, Refusal};
use pxe_content::rules::{Action, Rule, RuleOutcome};
use pxe_proto::dhcp::{Firmware, Ignored};

#[derive(Serialize)]
struct Explained {
    server: Ipv4Addr,
    interface: Option<String>,
    /// The requests of the machine's programs, or of the capture, in order.
    requests: Vec<RequestJson>,
    /// How many packets of a capture hold no UDP datagram over IPv4, by protocol.
    other_packets: BTreeMap<&'static str, u64>,
    /// What keeps machines from booting.
    obstacles: Vec<String>,
}

/// A request and what it leads to.
#[derive(Serialize)]
struct RequestJson {
    mac: Option<String>,
    arch: Option<String>,
    client: String,
    message: String,
    /// The UDP port that the request is sent to.
    port: u16,
    vlan: Option<u16>,
    relay: Option<Ipv4Addr>,
    /// Number of the first packet of this kind in a capture, from 1. `None` without a capture.
    packet: Option<u64>,
    /// How many packets of this kind there are; 1 without a capture.
    count: u64,
    rules: Vec<RuleOutcomeJson>,
    /// The rule that decides. `None` if no rule matches, or if there are no rules.
    rule: Option<String>,
    image: Option<String>,
    /// The machine boots its own disk.
    is_local: bool,
    reply: Option<ReplyText>,
    /// Why pxed sends no reply.
    silence: Option<String>,
    files: Vec<FileRow>,
}

#[derive(Serialize)]
struct RuleOutcomeJson {
    name: String,
    /// `matches`, `misses` or `not_reached`.
    fate: &'static str,
    /// The condition that the machine does not meet.
    condition: Option<&'static str>,
    wanted: Option<String>,
    shown: Option<String>,
    /// `boot`, `local` or `ignore`.
    action: &'static str,
}

#[derive(Serialize)]
struct ReplyText {
    /// `OFFER` or `ACK`.
    message: &'static str,
    style: &'static str,
    bytes: usize,
    to: String,
    /// Name of the file, script, URL or menu.
    answer: String,
}

#[derive(Serialize)]
struct FileRow {
    /// `needed`, `tried`, `elsewhere` or `note`.
    kind: &'static str,
    name: String,
    bytes: Option<u64>,
    path: Option<PathBuf>,
    /// The text that pxed writes for this machine.
    text: Option<String>,
    /// Why pxed does not serve the file.
    refusal: Option<String>,
}

pub(super) fn machine(
    context: &ExplainContext,
    firmware: &Firmware,
    vlan: Option<u16>,
    programs: &[Program<'_>],
    obstacles: &[String],
) -> Result<Vec<u8>> {
    let mut requests = Vec::new();
    for program in programs {
        let asked = |port, message: &str, trace: &Result<Trace<'_>, Ignored>| RequestJson {
            mac: Some(firmware.mac.to_string()),
            arch: Some(firmware.arch.to_string()),
            client: program.class.clone(),
            message: message.to_owned(),
            port,
            vlan,
            relay: firmware.relay,
            packet: None,
            count: 1,
            ..RequestJson::of(trace)
        };
        requests.push(asked(67, "DISCOVER", &program.first));
        if let Some(second) = &program.second {
            requests.push(asked(4011, "REQUEST", &second.trace));
        }
    }
    print(context, requests, BTreeMap::new(), obstacles)
}

pub(super) fn capture(
    context: &ExplainContext,
    surveyed: &Surveyed<'_>,
    obstacles: &[String],
) -> Result<Vec<u8>> {
    let requests = surveyed.blocks.iter().map(|block| RequestJson {
        mac: block.mac.map(|mac| mac.to_string()),
        arch: block.arch.map(|arch| arch.to_string()),
        client: block.client.to_owned(),
        message: block.message.clone(),
        port: block.to.port(),
        vlan: block.vlan,
        relay: block.relay,
        packet: Some(block.packet),
        count: block.count,
        ..RequestJson::of(&block.trace)
    });
    print(context, requests.collect(), surveyed.others(), obstacles)
}

fn print(
    context: &ExplainContext,
    requests: Vec<RequestJson>,
    other_packets: BTreeMap<&'static str, u64>,
    obstacles: &[String],
) -> Result<Vec<u8>> {
    let explained = Explained {
        server: context.here.server,
        interface: Some(context.interface.clone()).filter(|name| !name.is_empty()),
        requests,
        other_packets,
        obstacles: obstacles.to_vec(),
    };
    Ok(serde_json::to_vec_pretty(&explained)?)
}

impl RequestJson {
    /// The parts that a trace shows. The caller adds the machine and the request.
    fn of(trace: &Result<Trace<'_>, Ignored>) -> Self {
        let mut asked = Self {
            mac: None,
            arch: None,
            client: String::new(),
            message: String::new(),
            port: 0,
            vlan: None,
            relay: None,
            packet: None,
            count: 0,
            rules: Vec::new(),
            rule: None,
            image: None,
            is_local: false,
            reply: None,
            silence: None,
            files: Vec::new(),
        };
        let trace = match trace {
            Ok(trace) => trace,
            Err(ignored) => {
                asked.silence = Some(reply::silence(*ignored));
                return asked;
            }
        };
        asked.rules = trace.steps.iter().map(|(rule, fate)| RuleOutcomeJson::of(rule, fate)).collect();
        asked.rule = trace.decision.rule.map(|rule| rule.name.to_string());
        asked.image = trace.decision.rule.and_then(|rule| rule.image.as_deref()).map(str::to_owned);
        asked.is_local = trace.decision.is_local;
        match &trace.said {
            Ok(said) => {
                let told = &said.reply.summary;
                asked.reply = Some(ReplyText {
                    message: show::kind(told),
                    style: reply::style(told),
                    bytes: said.bytes.len(),
                    to: said.reply.to.to_string(),
                    answer: told.answer.name(told.mac).to_string(),
                });
            }
            Err(ignored) => asked.silence = Some(reply::silence(*ignored)),
        }
        asked.files = trace.files.rows.iter().map(FileRow::of).collect();
        asked
    }
}

impl RuleOutcomeJson {
    fn of(rule: &Rule, fate: &RuleOutcome) -> Self {
        let action = match rule.action {
            Action::Boot(_) => "boot",
            Action::Local => "local",
            Action::Ignore => "ignore",
        };
        let row = |fate| Self {
            name: rule.name.to_string(),
            fate,
            condition: None,
            wanted: None,
            shown: None,
            action,
        };
        match fate {
            RuleOutcome::Matches => row("matches"),
            RuleOutcome::NotReached => row("not_reached"),
            RuleOutcome::Misses { condition, wanted, shown } => Self {
                condition: Some(condition.as_str()),
                wanted: Some(wanted.clone()),
                shown: Some(shown.clone()),
                ..row("misses")
            },
        }
    }
}

impl FileRow {
    fn of(row: &Row) -> Self {
        let plain = |kind, name: &str| Self {
            kind,
            name: name.to_owned(),
            bytes: None,
            path: None,
            text: None,
            refusal: None,
        };
        let seen = |kind, name: &str, seen: &Result<Preview, Refusal>| match seen {
            Ok(Preview::File(size, path)) => {
                Self { bytes: Some(*size), path: Some(path.clone()), ..plain(kind, name) }
            }
            Ok(Preview::Written(text)) => {
                let bytes = text.bytes();
                let size = u64::try_from(bytes.len()).ok();
                Self {
                    bytes: size,
                    text: Some(String::from_utf8_lossy(bytes).into_owned()),
                    ..plain(kind, name)
                }
            }
            Err(refusal) => Self { refusal: Some(refusal.to_string()), ..plain(kind, name) },
        };
        match row {
            Row::Needed(name, found) => seen("needed", name, found),
            Row::Tried(name, found) => seen("tried", name, found),
            Row::Elsewhere(name) => plain("elsewhere", name),
            Row::Note(text) => plain("note", text),
        }
    }
}
