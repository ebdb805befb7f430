//! From what is offered to the rules of one interface: each with a service that was checked when the files were read.

use std::net::Ipv4Addr;

use crate::config::{Http, Outcome, RateLimits, RuleSpec};
use pxe_content::boot::{Catalogue, ImageSpec, LoaderKind};
use pxe_content::rules::{Access, Action, Policy, Rule};
use pxe_proto::dhcp::{Arch, BootFile, Menu, Program, Programs, Service, Style, Url};

/// What is offered to whom: what can change while the daemon runs.
#[derive(Clone, Debug, Default)]
pub struct Offering {
    /// How machines are told.
    pub style: Option<Style>,
    /// The boot menu, for [`Style::Menu`].
    pub menu: Option<Menu>,
    /// URLs for UEFI HTTP boot.
    pub http_urls: Vec<(Arch, Url)>,
    /// Whether iPXE prefers our file to one that the DHCP server names.
    pub ipxe_priority: bool,
    /// HTTP on the machines' network, if it is served.
    pub http: Option<Http>,
    /// The rules; without any, everybody gets the same.
    pub rules: Vec<RuleSpec>,
    /// Who is served at all.
    pub access: Access,
    /// How often sources may ask.
    pub rate_limits: RateLimits,
}

impl Offering {
    /// The rules for machines that reach us at `address`.
    #[must_use]
    pub fn policy(&self, address: Ipv4Addr, catalogue: &Catalogue) -> Policy {
        let usual = self.service(address, catalogue.programs());
        let rules = self.rules.iter().map(|spec| self.rule(spec, address, catalogue)).collect();
        Policy::new(rules, usual, self.local(address), self.style)
    }

    fn rule(&self, spec: &RuleSpec, address: Ipv4Addr, catalogue: &Catalogue) -> Rule {
        let image = match &spec.outcome {
            Outcome::Image(name) => Some(name.clone()),
            Outcome::Local | Outcome::Ignore => None,
        };
        let image_spec =
            |name: &str| catalogue.image_specs().iter().find(|image_spec| *image_spec.name == *name);
        let action = match (&spec.outcome, image.as_deref().and_then(image_spec)) {
            (Outcome::Image(_), Some(image_spec)) => {
                Action::Boot(Box::new(self.image(spec, image_spec, address, catalogue)))
            }
            (Outcome::Local, _) => Action::Local,
            // An image without a recipe does not pass the check.
            (Outcome::Image(_) | Outcome::Ignore, _) => Action::Ignore,
        };
        Rule {
            name: spec.name.clone(),
            matcher: spec.matcher.clone(),
            action,
            image,
            style: spec.style,
            boots: spec.boots,
            limits: spec.limits,
        }
    }

    fn image(
        &self,
        spec: &RuleSpec,
        image_spec: &ImageSpec,
        address: Ipv4Addr,
        catalogue: &Catalogue,
    ) -> Service {
        let mut service = self.service(address, catalogue.programs_of(image_spec));
        service.boot_server = spec.boot_server;
        service
    }

    fn service(&self, address: Ipv4Addr, mut programs: Programs) -> Service {
        let mut http = self.http_urls.clone();
        if let Some(own) = self.http {
            http.extend(
                own_urls(address, own.port, &programs)
                    .into_iter()
                    .filter(|(arch, _)| !self.http_urls.iter().any(|(given, _)| given == arch)),
            );
            if own.ipxe
                && let Some(script) = programs.ipxe().and_then(|script| over_http(address, own.port, script))
            {
                programs.set_ipxe(script);
            }
        }
        let mut service = Service::new(address);
        service.programs = programs;
        service.http = http;
        service.menu.clone_from(&self.menu);
        service.ipxe_priority = self.ipxe_priority;
        service
    }

    /// For machines that boot their own disks.
    fn local(&self, address: Ipv4Addr) -> Service {
        let mut service = Service::new(address);
        if let Ok(script) = BootFile::new(&LoaderKind::Ipxe.name()) {
            service.programs.set_ipxe(script.into());
        }
        service.local = Menu::local().ok();
        service.ipxe_priority = self.ipxe_priority;
        service
    }
}

/// The same programs by URL, for the architectures that HTTP boot knows.
fn own_urls(address: Ipv4Addr, port: u16, programs: &Programs) -> Vec<(Arch, Url)> {
    let url =
        |program: &Program| Url::new(&format!("http://{address}:{port}/{}", program.file.as_str())).ok();
    // A BIOS has no HTTP boot, and its programs are no UEFI programs.
    let uefi = programs.iter().filter(|(arch, _)| *arch != Arch::BIOS);
    uefi.filter_map(|(arch, program)| Some((arch.http()?, url(program)?))).collect()
}

fn over_http(address: Ipv4Addr, port: u16, script: &Program) -> Option<Program> {
    BootFile::new(&format!("http://{address}:{port}/{}", script.file.as_str())).ok().map(Program::from)
}
