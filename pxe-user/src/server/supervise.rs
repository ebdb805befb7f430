//! The supervisor: signals, the journal, the kernel program's log, and a look at the host now and then.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::Server;
use super::interface::Served;
use crate::fleet::handle::Message;
use crate::mac::Mac;
use crate::nic::interface::{Interface, InterfaceError};

/// How often the host is looked at: a DHCP server that is started here waits at most this long for its requests.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often the kernel program's records are read, when anybody wants them.
const READ_LOGS_EVERY: Duration = Duration::from_millis(100);

/// Runs until a signal says stop.
pub(super) async fn run(server: &mut Server) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot receive signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot receive signals")?;
    let mut kernel_logs = Vec::new();
    for programs in server.served.iter_mut().filter_map(|served| served.programs.as_mut()) {
        kernel_logs.push(programs.logger()?);
    }
    let names: Vec<_> = server.served.iter().map(|served| served.plan.interface.name.as_str()).collect();
    tracing::info!(target: "pxed::ready", "ready: serving {}", names.join(", "));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut read_logs = tokio::time::interval(READ_LOGS_EVERY);
    let result = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            Some(message) = server.messages.recv() => if let Message::Event(event) = message {
                server.journal.record(server.clock.now(), &event, neighbour);
            },
            // Below debug the kernel program writes nothing.
            _ = read_logs.tick(), if tracing::enabled!(tracing::Level::DEBUG) => {
                kernel_logs.iter_mut().for_each(aya_log::EbpfLogger::flush);
            }
            _ = look.tick() => if let Err(error) = look_around(&mut server.served) {
                break Err(error);
            },
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    result
}

fn look_around(served: &mut [Served]) -> Result<()> {
    for served in served {
        let interface = &served.plan.interface;
        match Interface::read(&interface.name) {
            Ok(now) if now.index == interface.index => served.look_again(&now)?,
            Ok(_) | Err(InterfaceError::Unknown { .. }) => {
                bail!("interface {} is gone: start pxed again when it is back", interface.name);
            }
            // Down, or a moment without descriptors: it may come back as it was.
            Err(_) => {}
        }
    }
    Ok(())
}

/// The Ethernet address of a neighbour, from the kernel's table: sockets do not show it.
fn neighbour(address: Ipv4Addr) -> Option<Mac> {
    let text = std::fs::read_to_string("/proc/net/arp").ok()?;
    let address = address.to_string();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(&address))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Logs the last events, and what was counted; for when the workers have ended.
pub(super) fn summarise(server: &mut Server) {
    while let Ok(message) = server.messages.try_recv() {
        if let Message::Event(event) = message {
            server.journal.record(server.clock.now(), &event, neighbour);
        }
    }
    for served in &server.served {
        let interface = served.plan.interface.name.as_str();
        let mut all: Vec<(&str, u64)> = Vec::new();
        for published in &served.published {
            for (label, value) in published.read().filter(|(_, value)| *value > 0) {
                match all.iter_mut().find(|(known, _)| *known == label) {
                    Some((_, sum)) => *sum += value,
                    None => all.push((label, value)),
                }
            }
        }
        if let Some(programs) = &served.programs {
            let kernel = programs.counters().unwrap_or_default();
            all.extend(kernel.into_iter().filter(|(_, value)| *value > 0));
        }
        let text: Vec<_> = all.iter().map(|(label, value)| format!("{label}={value}")).collect();
        tracing::info!(
            interface,
            "counted: {}",
            if text.is_empty() { "nothing".into() } else { text.join(" ") }
        );
    }
}
