//! `pxed explain` shows what a machine would get, and why. It sends no packets and asks no daemon: it runs the daemon's own code
//! on a request that it builds, or on the requests of a capture.
//!
//! | file | contents |
//! |---|---|
//! | `trace` | follows one request through rules, reply and files |
//! | `files` | the files that a machine loads after a reply, and whether pxed has each of them |
//! | `loads` | the file names in texts that pxed wrote |
//! | `machine` | one machine, described on the command line |
//! | `capture` | reads the frames of a pcap or pcapng file |
//! | `survey` | every request of a capture |
//! | `reply` | replies, and reasons for no reply, in words |
//! | `show` | rules and files as text |
//! | `json` | the same as JSON |

mod capture;
mod files;
mod json;
pub(super) mod loads;
mod machine;
mod reply;
mod show;
mod survey;
mod trace;

use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::catalogue::{self, LeftOut};
use super::offer::Offer;
use crate::config::{Config, Settings};
use crate::image_cache;
use crate::offering::Offering;
use pxe_content::boot::ServedAt;
use pxe_nic::interface::{Interface, InterfaceError};
use pxe_proto::dhcp::{Arch, Firmware, Uuid};
use pxe_proto::mac::Mac;
use trace::ExplainContext;

/// Stands for pxed's address if the options, the file and the interface give none. It is a documentation address (RFC 5737).
const EXAMPLE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Which machine, and how it shows itself.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit status: 0 if every machine boots, or is meant not to; 1 if something is in the way; 2 for a wrong command \
                        line; 78 for a configuration that cannot be used."
)]
pub(crate) struct Explain {
    /// The machine's Ethernet address
    #[arg(long, value_name = "MAC", required_unless_present = "pcap")]
    mac: Option<Mac>,
    /// Its architecture (bios, x64, x64-http, arm64, ... or a number of option 93)
    #[arg(long, value_name = "ARCH", required_unless_present = "pcap")]
    arch: Option<Arch>,
    /// Its vendor class, option 60 [default: that of such firmware]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Its user class, option 77; `iPXE` for iPXE
    #[arg(long, value_name = "CLASS")]
    user_class: Option<String>,
    /// Its UUID, option 97
    #[arg(long, value_name = "UUID")]
    uuid: Option<Uuid>,
    /// The relay between the machine and pxed
    #[arg(long, value_name = "ADDRESS")]
    relay: Option<Ipv4Addr>,
    /// The VLAN of its frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4094))]
    vlan: Option<u16>,
    /// Assume that it has booted so many times by its rule
    #[arg(long, value_name = "N", default_value_t = 0)]
    boots: u32,
    /// Explain every DHCP request of a capture (pcap, pcapng) instead
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["mac", "arch", "class", "user_class", "uuid", "relay", "vlan"]
    )]
    pcap: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = "What is served, as for `pxed serve`")]
    offer: Offer,
}

/// Something keeps a machine from booting. Holds one text for each reason.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(crate) struct Obstacles(Vec<String>);

impl Explain {
    pub(super) fn run(&self) -> Result<()> {
        let file = self.offer.read()?;
        let (context, origin) = self.context(&file)?;
        let (mut text, result) = match &self.pcap {
            Some(path) => self.capture(&context, &origin, path)?,
            None => self.machine(&context, &origin)?,
        };
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
        // Print the explanation first, and report errors and obstacles after it.
        match std::io::stdout().lock().write_all(&text) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
        let obstacles = result?;
        if obstacles.is_empty() { Ok(()) } else { Err(Obstacles(obstacles).into()) }
    }

    /// Opens what is served. If an image cannot be opened, this is recorded for the machines that would get it, and the rest is
    /// opened.
    fn context(&self, file: &Config) -> Result<(ExplainContext, Origin)> {
        let mut settings = Settings::new(self.offer.layer().over(file.settings.clone()));
        self.offer.add_linux(&mut settings)?;
        let settings = Arc::new(settings);
        let offering = Offering::new(Arc::clone(&settings))?;
        let interfaces = &settings.interfaces;
        let interface = interfaces.first().cloned().unwrap_or_default();
        let here_address = Interface::read(&interface).and_then(|interface| interface.serving(None));
        // The rules may belong to another host. Then the file names interfaces that this host does not have.
        if let (Err(error @ InterfaceError::Unknown { .. }), false) =
            (&here_address, interface.is_empty() || file.has_interface(&interface))
        {
            bail!("{error}. Leave --interface out, or name one of the configuration's");
        }
        let server = settings.address.or(here_address.ok().map(|subnet| subnet.address)).unwrap_or(EXAMPLE);
        let mut opened = catalogue::open(image_cache::files(&settings));
        let Some(catalogue) = opened.catalogue.take() else {
            bail!(
                opened
                    .errors
                    .into_iter()
                    .map(|left_out| left_out.error.to_string())
                    .collect::<Vec<_>>()
                    .join("; ")
            );
        };
        let mut broken = Vec::new();
        for LeftOut { image, error } in opened.errors {
            match image {
                Some(image_spec) => broken.push((image_spec.name, error.to_string())),
                None => tracing::warn!("{error}"),
            }
        }
        let policy = offering.policy(server, &catalogue);
        let context = ExplainContext {
            catalogue,
            policy,
            access: settings.access.clone(),
            here: ServedAt { server, http: settings.http_port },
            interface,
            client: self.pcap.is_none().then_some(machine::CLIENT),
            boots: self.boots,
            broken,
        };
        Ok((context, Origin { is_example: server == EXAMPLE, several: interfaces.len() > 1 }))
    }

    fn capture(
        &self,
        context: &ExplainContext,
        origin: &Origin,
        path: &Path,
    ) -> Result<(Vec<u8>, Result<Vec<String>>)> {
        let capture = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (surveyed, read) = survey::survey(context, &capture);
        let obstacles = surveyed.obstacles();
        let mut text = Vec::new();
        if self.json {
            text = json::capture(context, &surveyed, &obstacles)?;
        } else {
            origin.write(&mut text, context)?;
            writeln!(text)?;
            surveyed.write(&mut text)?;
        }
        let read = read.context("the capture cannot be read to its end");
        let read = read.with_context(|| path.display().to_string());
        Ok((text, read.map(|()| obstacles)))
    }

    fn machine(&self, context: &ExplainContext, origin: &Origin) -> Result<(Vec<u8>, Result<Vec<String>>)> {
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
        let programs = machine::programs(context, &firmware, self.vlan)?;
        let mut obstacles: Vec<String> = programs.iter().flat_map(machine::Program::obstacles).collect();
        obstacles.dedup();
        let mut out = Vec::new();
        if self.json {
            return Ok((json::machine(context, &firmware, self.vlan, &programs, &obstacles)?, Ok(obstacles)));
        }
        origin.write(&mut out, context)?;
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        writeln!(
            out,
            "machine {mac}, {arch}, UUID {}, relay {}, VLAN {}",
            or_none(self.uuid.map(|uuid| uuid.to_string())),
            or_none(self.relay.map(|relay| relay.to_string())),
            or_none(self.vlan.map(|vlan| vlan.to_string())),
        )?;
        let client = machine::CLIENT;
        writeln!(
            out,
            "        at {client}, an example address; its serial number and name are empty in templates"
        )?;
        machine::write(&mut out, context, &programs)?;
        Ok((out, Ok(obstacles)))
    }
}

/// Where the server's address comes from.
struct Origin {
    /// No address is known, so [`EXAMPLE`] stands for it.
    is_example: bool,
    /// There are several interfaces, and this address is that of the first.
    several: bool,
}

impl Origin {
    fn write(&self, out: &mut impl Write, context: &ExplainContext) -> std::io::Result<()> {
        let from = if self.is_example {
            ", an example address: give --address, or `address` in the file"
        } else {
            ""
        };
        writeln!(out, "server  {}{from}", context.here.server)?;
        if context.interface.is_empty() {
            return Ok(());
        }
        let which = if self.several { ", the first of several: --interface names another" } else { "" };
        writeln!(out, "heard   on {}{which}", context.interface)
    }
}
