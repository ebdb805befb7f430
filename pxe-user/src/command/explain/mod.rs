//! `pxed explain`: what a machine would get, and why, without asking the network or a daemon.
//!
//! | file | noun |
//! |---|---|
//! | `trace` | a request's way through rules, reply and files |
//! | `files` | the files that follow from a reply, and what each leads to |
//! | `loads` | names in texts that pxed wrote |
//! | `machine` | one machine, named on the command line |
//! | `capture` | frames of a pcap or pcapng file |
//! | `survey` | every request of a capture |
//! | `reply` | replies and silence in words |
//! | `show` | rules and files for people |

mod capture;
mod files;
mod loads;
mod machine;
mod reply;
mod show;
mod survey;
mod trace;

use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::serve::Serve;
use crate::boot::{Catalogue, Here};
use crate::dhcp::{Arch, Firmware, Uuid};
use crate::mac::Mac;
use trace::World;

/// Stands for our address where none is given (RFC 5737).
const EXAMPLE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Which machine, and how it shows itself.
#[derive(Clone, Debug, Args)]
pub(crate) struct Explain {
    /// The machine's Ethernet address
    #[arg(long, value_name = "MAC", required_unless_present = "pcap")]
    mac: Option<Mac>,
    /// Its architecture (bios, x64, x64-http, arm64, ... or a number of option 93)
    #[arg(long, value_name = "ARCH", required_unless_present = "pcap")]
    arch: Option<Arch>,
    /// What its firmware calls itself, option 60 [default: as such firmware does]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Its user class, option 77; iPXE for an iPXE
    #[arg(long, value_name = "CLASS")]
    user_class: Option<String>,
    /// Its UUID, option 97
    #[arg(long, value_name = "UUID")]
    uuid: Option<Uuid>,
    /// The relay between the machine and us
    #[arg(long, value_name = "ADDRESS")]
    relay: Option<Ipv4Addr>,
    /// The VLAN of its frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
    /// As if it had booted so many times by its rule
    #[arg(long, value_name = "N", default_value_t = 0)]
    boots: u32,
    /// Explain every DHCP request of a capture (pcap, pcapng) instead
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["mac", "arch", "class", "user_class", "uuid", "relay", "vlan"]
    )]
    pcap: Option<PathBuf>,
    #[command(flatten, next_help_heading = "What is served, as for `pxed serve`")]
    serve: Serve,
}

impl Explain {
    pub(super) fn run(&self) -> Result<()> {
        let mut text = Vec::new();
        // What was found out is shown before what is in the way.
        let result = self.write(&mut text);
        let shown = std::io::stdout().lock().write_all(&text);
        match shown {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        let obstacles = result?;
        match obstacles.as_slice() {
            [] => Ok(()),
            obstacles => bail!("{}", obstacles.join("; ")),
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<Vec<String>> {
        let file = self.serve.read()?;
        let setup = self.serve.setup(&file)?;
        let given = self.serve.address.or(file.address);
        let server = given.unwrap_or(EXAMPLE);
        let interfaces =
            if self.serve.interfaces.is_empty() { &file.interfaces } else { &self.serve.interfaces };
        let interface = interfaces.first().cloned().unwrap_or_default();
        let catalogue = Catalogue::open(setup.files)?;
        let policy = setup.offering.policy(server, &catalogue);
        let here = Here { server, http: setup.offering.http.map(|http| http.port) };
        let from = match given {
            Some(_) => "",
            None => ", an address for examples: give --address, or `address` in the file",
        };
        writeln!(out, "server  {server}{from}")?;
        if !interface.is_empty() {
            let which =
                if interfaces.len() > 1 { ", the first of several: --interface names another" } else { "" };
            writeln!(out, "heard   on {interface}{which}")?;
        }
        let world = World {
            catalogue,
            policy,
            access: setup.offering.access,
            here,
            interface,
            client: self.pcap.is_none().then_some(machine::CLIENT),
            boots: self.boots,
        };
        match &self.pcap {
            Some(path) => {
                let capture =
                    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                writeln!(out)?;
                survey::explain(out, &world, &capture).with_context(|| path.display().to_string())
            }
            None => self.machine(out, &world),
        }
    }

    fn machine(&self, out: &mut Vec<u8>, world: &World) -> Result<Vec<String>> {
        let (Some(mac), Some(arch)) = (self.mac, self.arch) else {
            bail!("give --mac and --arch, or --pcap")
        };
        let firmware = Firmware {
            mac,
            arch,
            class: self.class.clone(),
            user_class: self.user_class.clone(),
            uuid: self.uuid,
            relay: self.relay,
        };
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        writeln!(
            out,
            "machine {mac}, {arch}, UUID {}, relay {}, VLAN {}",
            or_none(self.uuid.map(|uuid| uuid.to_string())),
            or_none(self.relay.map(|relay| relay.to_string())),
            or_none(self.vlan.map(|vlan| vlan.to_string())),
        )?;
        let client = machine::CLIENT;
        writeln!(out, "        at {client}, for examples; in texts its serial number and name are empty")?;
        machine::explain(out, world, &firmware, self.vlan)
    }
}
