//! What the daemon's programs cost everybody else: how much longer than an empty program they run over frames that are not
//! for pxed.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::{Program, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use pxe_common::abi::{Config, dhcp_mode, offload};
use pxe_nic::programs::Programs;
use pxe_proto::datagram::{Link, write_frame};
use pxe_proto::mac::Mac;
use serde_json::{Value, json};

/// Built from `pxe-ebpf/src/bin/timing.rs` by `cargo xtask ebpf`. It has programs that do nothing.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../ebpf/timing.bpf.o");

/// Runs that a figure is the mean of.
const RUNS: u32 = 1_000_000;
/// The first and the last of pxed's ports in the configuration.
const TIDS: [u16; 2] = [49_152, 65_535];
const OWN: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 2);
/// HTTP over TLS, as the port of both frames: nothing of pxed's listens there.
const PORT: u16 = 443;

/// Frames of others, by the names of their figures.
fn frames() -> [(&'static str, Vec<u8>); 3] {
    let udp = udp();
    let mut tcp = udp.clone();
    // The protocol in the IPv4 header; no program reads further.
    tcp[23] = 6;
    let mut arp = vec![0; 60];
    arp[..6].fill(0xff);
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    [("foreign_tcp_ns", tcp), ("foreign_udp_ns", udp), ("foreign_arp_ns", arp)]
}

/// A full datagram for a service of this host.
fn udp() -> Vec<u8> {
    let mut frame = vec![0; 2048];
    let link = Link::untagged(Mac([2, 0x50, 0, 0, 0, 1]));
    let (from, to) = (SocketAddrV4::new(OTHER, PORT), SocketAddrV4::new(OWN, PORT));
    let len = write_frame(&mut frame, Mac([2, 0x50, 0, 0, 0, 2]), &link, from, to, &[], &[0; 1400]);
    frame.truncate(len);
    frame
}

/// How long an empty program runs over a frame, in XDP and at tcx: the price of a run, whatever the program does.
fn empty(frame: &[u8]) -> Result<[Duration; 2]> {
    let mut object = Ebpf::load(OBJECT).context("the object with the empty programs")?;
    let options = || TestRunOptions { data_in: Some(frame), repeat: RUNS, ..TestRunOptions::default() };
    let xdp: &mut Xdp = named(&mut object, "nothing")?.try_into()?;
    xdp.load()?;
    let xdp = xdp.test_run(options())?.duration;
    let tcx: &mut SchedClassifier = named(&mut object, "nothing_tc")?.try_into()?;
    tcx.load()?;
    Ok([xdp, tcx.test_run(options())?.duration])
}

fn named<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut Program> {
    object.program_mut(name).with_context(|| format!("the object has no program {name}"))
}

/// Nanoseconds of a run, less those of an empty program, for the programs without the offload (`off`), with it in XDP (`xdp`) and at tcx (`tcx`: both
/// programs).
///
/// # Errors
/// When the kernel refuses a program or a run.
pub fn times() -> Result<Value> {
    let config = Config {
        address: OWN.octets(),
        broadcast: [10, 50, 255, 255],
        dhcp_mode: dhcp_mode::COPY,
        tftp: 1,
        tid_first: TIDS[0],
        tid_last: TIDS[1],
        ifindex: 1,
        ..Config::default()
    };
    let mut times = json!({});
    for (name, bits) in [("off", 0), ("xdp", offload::XDP), ("tcx", offload::TCX)] {
        let mut programs = match bits {
            0 => Programs::load(1, 16, false),
            _ => Programs::load_offload(1, 16, false, 16),
        }?;
        programs.configure(&Config { offload: bits, ..config })?;
        if bits == offload::TCX {
            programs.load_tcx()?;
        }
        for (frame, bytes) in frames() {
            let mut time = programs.test_run_time(&bytes, RUNS).context("a run of the XDP program")?;
            if bits == offload::TCX {
                time += programs.test_run_tcx_time(&bytes, RUNS).context("a run of the tcx program")?;
            }
            let [xdp, tcx] = empty(&bytes)?;
            let price = if bits == offload::TCX { xdp + tcx } else { xdp };
            times[name][frame] = json!(time.saturating_sub(price).as_nanos() as u64);
        }
    }
    Ok(times)
}
