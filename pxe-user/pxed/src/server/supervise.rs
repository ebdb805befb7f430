//! The supervisor: waits on the main thread for signals and successors, and looks at the configuration, the interfaces, the other
//! threads and the kernel program's log from time to time.

use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::handover::{self, Requester};
use super::refusal_notice::RefusalCounts;
use super::reload::{LiveConfig, ReloadOutcome};
use super::running::Running;
use super::served_interface::ServedInterface;
use super::watchdog::Watchdog;
use pxe_nic::interface::{Interface, InterfaceError, name_of};

/// Least time between two looks at the interfaces. A DHCP server that starts on this host gets its requests after this time at
/// most twice.
const LOOK_EVERY: Duration = Duration::from_millis(1500);
/// The pause after a failed attempt to accept a successor's connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Between two publications of the counters while they change, and while they do not.
const SHOW_EVERY: Duration = Duration::from_millis(500);
const SHOW_IDLE_EVERY: Duration = Duration::from_millis(1500);
/// Between two looks at the configuration file.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Between two log lines about rejected requests.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Between two reads of the kernel program's log records, at debug.
const READ_LOGS_EVERY: Duration = Duration::from_millis(100);

/// Why a daemon ends.
enum End {
    /// A signal, without a service manager that keeps the state.
    Stop,
    /// A successor gets the state, now or after a restart.
    HandOver(Requester),
}

/// Serves until a signal or a successor ends the daemon, then takes everything down.
///
/// # Errors
/// When signals cannot be received, an interface is gone, or a successor does not get the state.
pub(super) fn run(mut running: Running) -> Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = running.permit().runtime(builder.enable_all()).context("cannot start the supervisor")?;
    let result = runtime.block_on(watch(&mut running));
    drop(runtime);
    // A successor on this host renews the same lease. After a signal nobody may come: the service manager stores the state for a
    // restart, but does not say whether there is one.
    let has_successor = matches!(&result, Ok(End::HandOver(requester)) if !requester.is_kept());
    if !has_successor {
        running.leave_segment();
    }
    if let Ok(End::HandOver(requester)) = &result {
        return running.hand_over(requester);
    }
    running.finish();
    result.map(drop)
}

/// Watches until a signal or a successor ends the daemon.
async fn watch(running: &mut Running) -> Result<End> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot receive signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot receive signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot receive signals")?;
    let mut kernel_logs = Vec::new();
    for programs in running.interfaces().iter_mut().filter_map(|served| served.programs.as_mut()) {
        kernel_logs.push(programs.logger()?);
    }
    let interfaces = running.interfaces().iter();
    let names: Vec<_> = interfaces.map(|served| served.plan.interface.name.as_str()).collect();
    tracing::info!(target: "pxed::ready", "ready: serving {}", names.join(", "));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut watchdog = running.watchdog();
    let mut show_next = Instant::now() + show(running, &mut watchdog);
    let mut look_next = Instant::now();
    let (mut tell_tick, mut refused) = (tokio::time::interval(TELL_EVERY), RefusalCounts::default());
    let mut logs_tick = tokio::time::interval(READ_LOGS_EVERY);
    let mut requesters = requesters(running.interfaces())?;
    let (reload, mut reloaded) = watch_config(running)?;
    let live = Arc::clone(running.live());
    let result = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(End::Stop),
            // The service manager sends this signal, and may start the next daemon at once.
            _ = terminate.recv() => break Ok(leave()),
            Some(requester) = requesters.recv() => break Ok(End::HandOver(requester)),
            // Sending fails only if that thread has ended, which no error makes it do.
            _ = hangup.recv() => drop(reload.send(())),
            Some(outcome) = reloaded.recv() => running.reloaded(outcome),
            () = live.found_others.notified() => running.found_others(),
            // One timer for both: an idle daemon should rarely wake.
            () = tokio::time::sleep_until(show_next) => {
                let now = Instant::now();
                show_next = now + show(running, &mut watchdog);
                if now >= look_next {
                    look_next = now + LOOK_EVERY;
                    if let Err(error) = look_around(running.interfaces()) {
                        break Err(error);
                    }
                }
            }
            _ = tell_tick.tick() => {
                let now = RefusalCounts::of(running.interfaces());
                now.log_since(&refused);
                refused = now;
            }
            // Above debug the kernel program writes no records.
            _ = logs_tick.tick(), if tracing::enabled!(tracing::Level::DEBUG) => {
                kernel_logs.iter_mut().for_each(aya_log::EbpfLogger::flush);
            }
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    result
}

/// Publishes counters and threads that hang, and reports to the service manager's watchdog if all is well. Returns how long to
/// wait until the next time.
fn show(running: &mut Running, watchdog: &mut Watchdog) -> Duration {
    let shown = running.show(watchdog);
    if shown.is_well {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
    if shown.has_changed { SHOW_EVERY } else { SHOW_IDLE_EVERY }
}

/// Starts the thread that watches the configuration file. It looks at once after a message to the sender. A file that hangs
/// delays nothing else: nobody waits for this thread, not even at the end.
fn watch_config(running: &Running) -> Result<(std_mpsc::Sender<()>, mpsc::Receiver<ReloadOutcome>)> {
    let (reload, wanted) = std_mpsc::channel();
    let (outcomes, reloaded) = mpsc::channel(1);
    let live = Arc::clone(running.live());
    running.permit().spawn("pxed-config", move || look_at_config(&live, &wanted, &outcomes))?;
    Ok((reload, reloaded))
}

fn look_at_config(
    live: &LiveConfig,
    wanted: &std_mpsc::Receiver<()>,
    outcomes: &mpsc::Sender<ReloadOutcome>,
) {
    loop {
        let now = match wanted.recv_timeout(WATCH_EVERY) {
            Ok(()) => true,
            Err(std_mpsc::RecvTimeoutError::Timeout) => false,
            Err(std_mpsc::RecvTimeoutError::Disconnected) => return,
        };
        match live.look(now) {
            ReloadOutcome::Nothing => {}
            outcome => {
                if outcomes.blocking_send(outcome).is_err() {
                    return;
                }
            }
        }
    }
}

/// Leaves the state with the service manager, if it keeps it for the next start.
fn leave() -> End {
    match handover::leave() {
        Ok(requester) => requester.map_or(End::Stop, End::HandOver),
        Err(error) => {
            tracing::warn!(
                "cannot leave the transfers for a restart: the service manager does not answer: {error}"
            );
            End::Stop
        }
    }
}

/// Receives requests for a hand-over on the interfaces' locks. The tasks end with the runtime.
fn requesters(interfaces: &[ServedInterface]) -> Result<mpsc::Receiver<Requester>> {
    let (found, requesters) = mpsc::channel(1);
    for served in interfaces {
        let Some(listener) = served.lock.listener() else { continue };
        let listener = listener.try_clone().context("cannot listen for a successor")?;
        listener.set_nonblocking(true).context("cannot listen for a successor")?;
        let listener = UnixListener::from_std(listener).context("cannot listen for a successor")?;
        let found = found.clone();
        tokio::spawn(async move {
            // One connection at a time, each with a time-out. Any local user can connect, so `hear` checks the user first.
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        if let Some(requester) = Requester::hear(stream).await {
                            let _ = found.send(requester).await;
                        }
                    }
                    // No descriptor is free at the moment, or the client has gone.
                    Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
                }
            }
        });
    }
    Ok(requesters)
}

/// Compares the interfaces with what they were at the start.
fn look_around(served: &mut [ServedInterface]) -> Result<()> {
    for served in served {
        let interface = &served.plan.interface;
        match Interface::read(&interface.name) {
            Ok(now) if now.index == interface.index => served.follow_changes(&now)?,
            Ok(_) | Err(InterfaceError::Unknown { .. }) => match name_of(interface.index) {
                Some(name) => served.follow_rename(name),
                None => bail!("interface {} is gone: restart pxed when it is back", interface.name),
            },
            // The interface is down, or no descriptor is free at the moment. It may come back as it was.
            Err(_) => {}
        }
    }
    Ok(())
}
