//! What the load generator is told, and the sum of its reports.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use pxe_kit::load::{Boot, Options, PORT, mac};
use serde_json::Value;

use super::cable::{
    ADDRESS, BESIDE_ADDRESS, BESIDE_CLIENT, BESIDE_CLIENT_ADDRESS, CLIENT, HTTP_CLIENTS, MAC, RING_SAFE,
};
use super::cases::{BLOCK, Case, Play};
use super::faults::{Noise, Versions};
use super::responders::{FRAME, IMAGE, Responder, Who};

/// A run that takes longer counts as it is then, in seconds.
const LIMIT: u64 = 60;
/// The reflector's run, in seconds.
const REFLECT: f64 = 2.0;
/// Transfers that shall wait are asked for once, and once more a second later: none of them hears an answer.
const WAITING_LIMIT: u64 = 2;

/// How far the first port of a run's machines is from that of the run before: a port per file is used.
const PORTS: u16 = 64;

/// The options for one run of several on end. `has_receiver`: the generator's interface receives in a thread of its own,
/// on the generator's processor.
pub(super) fn options(
    case: &Case,
    responder: &Responder,
    root: &Path,
    run: u32,
    has_receiver: bool,
) -> Options {
    let mut options = Options::new(CLIENT);
    options.server = ADDRESS.parse().ok();
    options.server_mac = mac(MAC).ok();
    if responder.who == Who::Reflect {
        options.reflect = Some(FRAME.into());
        options.seconds = REFLECT;
        return options;
    }
    if responder.roomy {
        options.pad = FRAME.into();
    }
    // A request from a port of the run before would be the repeat of one that was answered.
    options.port = PORT + PORTS * run as u16;
    options.seed = run;
    options.limit = LIMIT;
    match case.play {
        Play::Load { machines, file, window, power_on } => {
            options.machines = machines;
            options.file = Some(file.name().into());
            if case.fault.changes_files() {
                let versions = Versions::of(root);
                options.original = Some(versions.first());
                options.or = Some(versions.second());
            } else {
                options.original = Some(root.join(file.name()));
            }
            options.blksize = BLOCK;
            options.windowsize = window;
            options.power_on = power_on;
            options.loads = case.loads;
            options.stop_after = (case.seconds > 0).then(|| f64::from(case.seconds));
            // What XDP sends finds no queue in front of the other end's ring, and noise is made in user space.
            options.in_kernel = has_receiver && !case.goes_wrong() && case.under_way() <= RING_SAFE;
        }
        Play::Boots { machines, file, power_on, known } => {
            options.machines = machines;
            options.boot = Some(Boot::Mix);
            // With a ledger the file is an image's.
            let name = if known > 0 { format!("{IMAGE}/{}", file.name()) } else { file.name().into() };
            options.files = vec![(name, root.join(file.name()))];
            options.power_on = power_on;
        }
        Play::Offers { machines, each } => {
            options.machines = machines;
            options.dhcp = Some(each);
        }
        Play::Waiting { machines } => {
            let file = super::cases::File::Small;
            options.machines = machines;
            options.file = Some(file.name().into());
            options.original = Some(root.join(file.name()));
            // All that the responder says is lost.
            options.loss = 1000;
            options.limit = WAITING_LIMIT;
        }
        Play::Http { connections, file, from_one, seconds } => {
            options.interface = BESIDE_CLIENT.into();
            options.server = BESIDE_ADDRESS.parse().ok();
            options.machines = connections;
            options.http = Some(format!("/{}", file.name()));
            options.original = Some(root.join(file.name()));
            options.from = HTTP_CLIENTS.parse().ok();
            options.from_one = from_one;
            options.seconds = seconds.into();
        }
        Play::HttpBoots { machines, file, power_on } => {
            options.interface = BESIDE_CLIENT.into();
            options.server = BESIDE_ADDRESS.parse().ok();
            options.machines = machines;
            options.http = Some(format!("/{}", file.name()));
            options.original = Some(root.join(file.name()));
            options.from = HTTP_CLIENTS.parse().ok();
            options.relay = BESIDE_CLIENT_ADDRESS.parse().ok();
            options.power_on = power_on;
        }
        Play::Programs { .. } | Play::Idle { .. } | Play::Stream { .. } => {}
    }
    let Noise { loss, duplicate, reorder, both_ways } = case.noise;
    // A transfer that shall wait has a loss of its own.
    options.loss = options.loss.max(loss);
    (options.duplicate, options.reorder, options.both_ways) = (duplicate, reorder, both_ways);
    case.fault.apply(&mut options);
    options
}

/// The share of its core that the generator needed, with what its receiving thread did in that time. Where the kernel
/// does not play the machines it never sleeps: there it needed the turns in which it had something to do, and the thread
/// ran in the others.
pub(super) fn share(report: &Value, receiving: Option<f64>) -> Option<f64> {
    let elapsed = report["elapsed"].as_f64().filter(|elapsed| *elapsed > 0.0)?;
    let sleeps = report.get("kernel_blocks").is_some() || report["kind"] == "http";
    let own = report[if sleeps { "own_share" } else { "busy_share" }].as_f64()?;
    Some((own + receiving.unwrap_or(0.0) / elapsed).min(1.0))
}

/// Reads a report.
///
/// # Errors
/// When it is none; with what it is.
pub(super) fn report(said: &str) -> Result<Value> {
    let line = said.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let report: Value =
        serde_json::from_str(line).with_context(|| format!("the generator's report is `{}`", said.trim()))?;
    ensure!(report.is_object(), "the generator's report is `{line}`");
    Ok(report)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cases::{Form, cases};
    use super::*;

    #[test]
    fn the_receiving_thread_counts_as_a_part_of_the_generator() {
        let in_kernel = json!({ "kernel_blocks": 7, "own_share": 0.25, "elapsed": 2.0, "busy_share": 0.75 });
        assert_eq!(share(&in_kernel, Some(1.0)), Some(0.75));
        let in_user_space = json!({ "own_share": 1.0, "elapsed": 2.0, "busy_share": 0.5 });
        assert_eq!(share(&in_user_space, None), Some(0.5));
        assert_eq!(share(&in_user_space, Some(0.5)), Some(0.75));
        assert_eq!(share(&in_user_space, Some(1.5)), Some(1.0));
        assert_eq!(share(&json!({ "busy_share": 0.5 }), None), None);
    }

    #[test]
    fn the_kernel_plays_machines_where_nothing_goes_wrong_and_the_ring_has_room() {
        let in_kernel = |case: &Case, has_receiver| {
            options(case, Who::Native.responder(), Path::new("/root"), 0, has_receiver).in_kernel
        };
        let (mut lock_step, mut others) = (0, 0);
        for case in cases(Form::Targets, None) {
            let plays = matches!(case.play, Play::Load { .. });
            let expected = plays && !case.goes_wrong() && case.under_way() <= RING_SAFE;
            assert_eq!(in_kernel(&case, true), expected, "{}", case.name());
            assert!(!in_kernel(&case, false));
            lock_step += u32::from(expected);
            others += u32::from(!expected);
        }
        assert!(lock_step > 2 && others > 2);
    }

    #[test]
    fn what_is_no_report_is_shown() {
        assert_eq!(report("a warning\n{\"done\":1}\n").unwrap()["done"], 1);
        let error = report("no interface load0\n").unwrap_err().to_string();
        assert!(error.contains("no interface load0"), "{error}");
    }

    #[test]
    fn only_frames_that_shall_have_room_are_padded() {
        let case = &cases(Form::Targets, None)[0];
        let padded = |who: Who| options(case, who.responder(), Path::new("/root"), 0, true).pad > 0;
        assert!(padded(Who::NativeOffload));
        assert!(!padded(Who::Native) && !padded(Who::GenericOffload));
    }
}
