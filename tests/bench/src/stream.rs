//! What the classifier costs everybody else: iperf3 into the responder's host, through the interface that it watches.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::cable::{BESIDE_ADDRESS, Cable};

/// One stream into the host, in a plain veth with what that offloads. Mbit/s that arrived.
pub(super) fn run(cable: &Cable, udp: bool, seconds: u32) -> Result<Value> {
    let mut server = cable.lab.responder().command("iperf3");
    server.args(["--server", "--one-off", "--forceflush", "--bind", BESIDE_ADDRESS]);
    let server = cable.lab.spawn("iperf3", server)?;
    server.wait_for("Server listening", Duration::from_secs(10))?;
    let seconds = seconds.to_string();
    let mut arguments = vec!["--client", BESIDE_ADDRESS, "--json", "--time", &seconds];
    if udp {
        // As fast as it can, in datagrams of a frame's size: losses are the receiver's.
        arguments.extend(["--udp", "--bitrate", "0", "--length", "1472"]);
    }
    let said = cable.lab.client().output("iperf3", &arguments)?;
    let report: Value = serde_json::from_str(&said).context("iperf3's report")?;
    server.stop()?;
    Ok(json!({ "mbit": received(&report["end"], udp).context("iperf3 reports no stream")? / 1e6 }))
}

/// Bits a second that arrived. For UDP older versions tell only what was sent, and the share that was lost.
fn received(end: &Value, udp: bool) -> Option<f64> {
    if !udp {
        return end["sum_received"]["bits_per_second"].as_f64();
    }
    let sum = &end["sum"];
    Some(sum["bits_per_second"].as_f64()? * (1.0 - sum["lost_percent"].as_f64()? / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_arrived_counts() {
        let end = json!({ "sum": { "bits_per_second": 8e9, "lost_percent": 25.0 }, "sum_received": { "bits_per_second": 5e9 } });
        assert_eq!(received(&end, false), Some(5e9));
        assert_eq!(received(&end, true), Some(6e9));
        assert_eq!(received(&json!({}), true), None);
    }
}
