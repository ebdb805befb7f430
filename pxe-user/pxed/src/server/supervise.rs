//! The supervisor: signals, the configuration, the kernel program's log, and a look at the host now and then.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::handover::{self, Requester};
use super::refusal_notice::RefusalCounts;
use super::reload::ReloadOutcome;
use super::served_interface::ServedInterface;
use super::watchdog::Watchdog;
use super::{End, Server};
use pxe_nic::interface::{Interface, InterfaceError, name_of};

/// How often the host is looked at: a DHCP server that is started here waits at most this long for its requests.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After a failed attempt to hear a successor.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How often the daemon shows what it has counted.
const SHOW_EVERY: Duration = Duration::from_millis(500);
/// How often the configuration file is looked at.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How often it is said who was refused.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How often the kernel program's records are read, when anybody wants them.
const READ_LOGS_EVERY: Duration = Duration::from_millis(100);

/// Runs until a signal says stop.
pub(super) async fn run(server: &mut Server) -> Result<End> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot receive signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot receive signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot receive signals")?;
    let mut kernel_logs = Vec::new();
    for programs in server.served.iter_mut().filter_map(|served| served.programs.as_mut()) {
        kernel_logs.push(programs.logger()?);
    }
    let names: Vec<_> = server.served.iter().map(|served| served.plan.interface.name.as_str()).collect();
    tracing::info!(target: "pxed::ready", "ready: serving {}", names.join(", "));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut watching = Watchdog::new(server.clock.now(), sd_notify::watchdog_enabled());
    show_all(server, &mut watching);
    let mut show = tokio::time::interval(SHOW_EVERY);
    let mut watch = tokio::time::interval(WATCH_EVERY);
    let mut look = tokio::time::interval(LOOK_EVERY);
    let (mut tell, mut refused) = (tokio::time::interval(TELL_EVERY), RefusalCounts::default());
    let mut read_logs = tokio::time::interval(READ_LOGS_EVERY);
    // One look at a time: a file that hangs keeps nobody waiting, not even who says stop.
    let mut askers = askers(&server.served)?;
    let (mut reading, mut wanted): (Option<JoinHandle<ReloadOutcome>>, bool) = (None, false);
    let result = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(End::Stop),
            // So a service manager says it, which may start us again at once.
            _ = terminate.recv() => break Ok(leave()),
            Some(asker) = askers.recv() => break Ok(End::HandOver(asker)),
            _ = hangup.recv() => wanted = true,
            _ = watch.tick(), if reading.is_none() => {
                let (live, now) = (Arc::clone(&server.live), std::mem::take(&mut wanted));
                reading = Some(tokio::task::spawn_blocking(move || live.look(now)));
            }
            look = finished(&mut reading), if reading.is_some() => {
                reading = None;
                looked(server, look);
            }
            _ = show.tick() => show_all(server, &mut watching),
            _ = tell.tick() => {
                let now = RefusalCounts::of(&server.served);
                now.tell_since(&refused);
                refused = now;
            }
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

/// Shows what was counted and who hangs, and tells the service manager's watchdog if all is well.
fn show_all(server: &mut Server, watching: &mut Watchdog) {
    let (hanging, is_well) = watching.look(server.clock.now(), &server.heartbeats);
    server.gauges.hanging = hanging.to_vec();
    server.gauges.show(&server.served, &server.live);
    if is_well {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}

/// With a service manager, whoever it starts next goes on.
fn leave() -> End {
    match handover::leave() {
        Ok(asker) => asker.map_or(End::Stop, End::HandOver),
        Err(error) => {
            tracing::warn!(
                "cannot leave the transfers for a restart: the service manager does not answer: {error}"
            );
            End::Stop
        }
    }
}

/// Who asks for the work on one of the interfaces: the tasks that hear them end with the runtime.
fn askers(served: &[ServedInterface]) -> Result<mpsc::Receiver<Requester>> {
    let (found, askers) = mpsc::channel(1);
    for served in served {
        let Some(listener) = served.lock.listener() else { continue };
        let listener = listener.try_clone().context("cannot listen for a successor")?;
        listener.set_nonblocking(true).context("cannot listen for a successor")?;
        let listener = UnixListener::from_std(listener).context("cannot listen for a successor")?;
        let found = found.clone();
        tokio::spawn(async move {
            // One at a time, each bounded in time: nobody who may not ask gets further than this.
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        if let Some(asker) = Requester::hear(stream).await {
                            let _ = found.send(asker).await;
                        }
                    }
                    // No descriptor at the moment, or who asked is gone.
                    Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
                }
            }
        });
    }
    Ok(askers)
}

/// The end of a look that is under way.
async fn finished(reading: &mut Option<JoinHandle<ReloadOutcome>>) -> ReloadOutcome {
    match reading {
        Some(reading) => reading.await.unwrap_or_else(|error| ReloadOutcome::Refused(error.into())),
        None => std::future::pending().await,
    }
}

fn looked(server: &mut Server, look: ReloadOutcome) {
    let gauges = &mut server.gauges;
    match look {
        ReloadOutcome::Nothing => {}
        ReloadOutcome::Taken(setup) => {
            gauges.reloads += 1;
            gauges.config_problem = None;
            let rules = setup.offering.rules.len();
            tracing::info!(event = "reloaded", rules, "applied the changed configuration");
            let rates = setup.offering.rate_limits.rates();
            for served in &mut server.served {
                if let Err(error) = served.set_rates(rates) {
                    tracing::error!(
                        event = "refused_config",
                        "rejected the new limits; the running limits stay: {error:#}"
                    );
                    gauges.config_problem = Some(format!("{error:#}"));
                }
            }
        }
        ReloadOutcome::Refused(error) => {
            tracing::error!(
                event = "refused_config",
                "rejected the new configuration; the running configuration stays: {error:#}"
            );
            gauges.config_problem = Some(format!("{error:#}"));
        }
    }
}

fn look_around(served: &mut [ServedInterface]) -> Result<()> {
    for served in served {
        let interface = &served.plan.interface;
        match Interface::read(&interface.name) {
            Ok(now) if now.index == interface.index => served.look_again(&now)?,
            Ok(_) | Err(InterfaceError::Unknown { .. }) => match name_of(interface.index) {
                Some(name) => served.is_called(name),
                None => bail!("interface {} is gone: restart pxed when it is back", interface.name),
            },
            // Down, or a moment without descriptors: it may come back as it was.
            Err(_) => {}
        }
    }
    Ok(())
}

/// Logs what was counted; for when the workers have ended.
pub(super) fn summarise(server: &Server) {
    for served in &server.served {
        let interface = served.plan.interface.name.as_str();
        let all = served.counters().into_iter().chain(served.kernel_counters());
        let text: Vec<_> =
            all.filter(|(_, value)| *value > 0).map(|(label, value)| format!("{label}={value}")).collect();
        tracing::info!(
            interface,
            "counted: {}",
            if text.is_empty() { "nothing".into() } else { text.join(" ") }
        );
    }
}
