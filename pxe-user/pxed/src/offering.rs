//! From the settings to the rules of one interface, each with the service that a machine gets. The services were checked when the
//! boot files were read. `serve`, `check` and `explain` use the same code.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::config::{RuleAction, RuleSpec, Settings};
use pxe_content::boot::{Catalogue, ImageSpec, LoaderKind};
use pxe_content::rules::{Action, Policy, Rule};
use pxe_proto::dhcp::{Arch, BootFile, BootService, Menu, MenuItem, Program, Programs, Style, Text, Url};

/// The type of the menu entry that boots from pxed. Any value except 0, which means the local disk (PXE 2.1).
const MENU_TYPE: u16 = 1;

/// What machines are offered: the settings, with all that can be wrong in them as a whole checked.
#[derive(Clone, Debug)]
pub struct Offering {
    settings: Arc<Settings>,
    /// The boot menu. `None` if neither the settings nor a rule has [`Style::Menu`].
    menu: Option<Menu>,
}

impl Offering {
    /// Makes what does not depend on the interface.
    ///
    /// # Errors
    /// When the texts of the menu do not fit into a reply.
    pub fn new(settings: Arc<Settings>) -> Result<Self> {
        let needs_menu = settings.style == Some(Style::Menu)
            || settings.rules.iter().any(|rule| rule.style == Some(Style::Menu));
        let menu = if needs_menu { Some(menu(&settings)?) } else { None };
        Ok(Self { settings, menu })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The rules for machines that reach us at `address`.
    #[must_use]
    pub fn policy(&self, address: Ipv4Addr, catalogue: &Catalogue) -> Policy {
        let usual = self.service(address, catalogue.programs());
        let rules = self.settings.rules.iter().map(|spec| self.rule(spec, address, catalogue)).collect();
        Policy::new(rules, usual, self.local(address), self.settings.style)
    }

    fn rule(&self, spec: &RuleSpec, address: Ipv4Addr, catalogue: &Catalogue) -> Rule {
        let image = match &spec.outcome {
            RuleAction::Image(name) => Some(name.clone()),
            RuleAction::Local | RuleAction::Ignore => None,
        };
        let image_spec =
            |name: &str| catalogue.image_specs().iter().find(|image_spec| *image_spec.name == *name);
        let action = match (&spec.outcome, image.as_deref().and_then(image_spec)) {
            (RuleAction::Image(_), Some(image_spec)) => {
                Action::Boot(Box::new(self.image(spec, image_spec, address, catalogue)))
            }
            (RuleAction::Local, _) => Action::Local,
            // The check of the file rejects rules without an image.
            (RuleAction::Image(_) | RuleAction::Ignore, _) => Action::Ignore,
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
    ) -> BootService {
        let mut service = self.service(address, catalogue.programs_of(image_spec));
        service.boot_server = spec.boot_server;
        service
    }

    fn service(&self, address: Ipv4Addr, mut programs: Programs) -> BootService {
        let given = &self.settings.http_urls;
        let mut http = given.clone();
        if let Some(port) = self.settings.http_port {
            http.extend(
                own_urls(address, port, &programs)
                    .into_iter()
                    .filter(|(arch, _)| !given.iter().any(|(known, _)| known == arch)),
            );
            if self.settings.http_ipxe
                && let Some(script) = programs.ipxe().and_then(|script| over_http(address, port, script))
            {
                programs.set_ipxe(script);
            }
        }
        let mut service = BootService::new(address);
        service.programs = programs;
        service.http = http;
        service.menu.clone_from(&self.menu);
        service.ipxe_priority = !self.settings.yield_ipxe;
        service
    }

    /// The service for machines that boot their own disks.
    fn local(&self, address: Ipv4Addr) -> BootService {
        let mut service = BootService::new(address);
        if let Ok(script) = BootFile::new(&LoaderKind::Ipxe.name()) {
            service.programs.set_ipxe(script.into());
        }
        service.local = Menu::local().ok();
        service.ipxe_priority = !self.settings.yield_ipxe;
        service
    }
}

fn menu(settings: &Settings) -> Result<Menu> {
    let items = vec![
        MenuItem::boot(MENU_TYPE, Text::new("Memory test")?, None)?,
        MenuItem::local(Text::new("Local disk")?),
    ];
    Menu::new(Text::new(&settings.menu_prompt)?, settings.menu_timeout, items).context("the menu's prompt")
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
