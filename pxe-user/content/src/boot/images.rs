//! The catalogue's images: the boot programs of each image, the texts that pxed writes for its machines, and
//! the roles of its files in a boot.

use std::collections::HashMap;
use std::sync::Arc;

use super::catalogue::{Catalogue, LOADERS};
use super::discover::{INSTALL_IPXE, INSTALL_PXELINUX};
use super::facts::ServedAt;
use super::image::{Image, Role};
use super::image_spec::ImageSpec;
use super::machine_files::{self, MachineFile};
use super::mount::Mount;
use super::names::FileName;
use super::refusal::Refusal;
use super::usual::{self, Wanted};
use crate::boot::MachineFacts;
use pxe_proto::dhcp::{Arch, Programs};
use pxe_proto::mac::Mac;

impl Catalogue {
    /// The same as [`Self::load`], but also writes files for single machines. `facts` returns what is known
    /// about the machine with the address in the name or, if it gets `None`, about the machine that sent the
    /// request. May block, as [`Self::load`] does.
    ///
    /// # Errors
    /// Why pxed does not serve the file.
    pub fn load_for(
        &self,
        name: &FileName,
        here: ServedAt,
        facts: impl FnOnce(Option<Mac>) -> Option<MachineFacts>,
    ) -> Result<Arc<Image>, Refusal> {
        self.written_or(name, here, facts, |name| self.load(name), |written| written)
    }

    /// The meaning of a name that may be a file for one machine. Without images, only names below the
    /// directory `pxed` are such names: a rule can send machines to their own disks without any image.
    pub(super) fn machine_file(&self, name: &FileName) -> Option<MachineFile> {
        machine_files::machine_file(name)
            .filter(|machine_file| machine_file.is_unambiguous || !self.image_specs.is_empty())
    }

    /// Passes the text for the machine to `written` if the name means such a text, else returns what `find`
    /// finds under the name. A real file under a name that boot loaders look for by themselves comes before
    /// the text.
    pub(super) fn written_or<T>(
        &self,
        name: &FileName,
        here: ServedAt,
        facts: impl FnOnce(Option<Mac>) -> Option<MachineFacts>,
        find: impl Fn(&FileName) -> Result<T, Refusal>,
        written: impl FnOnce(Arc<Image>) -> T,
    ) -> Result<T, Refusal> {
        let machine_file = self.machine_file(name);
        let Some(machine_file) = machine_file else { return find(name) };
        if !machine_file.is_unambiguous {
            match find(name) {
                Err(Refusal::NotFound) => {}
                found => return found,
            }
        }
        let facts = facts(machine_file.mac).ok_or(Refusal::NotFound)?;
        let own =
            self.image_specs.iter().find(|image_spec| Some(&*image_spec.name) == facts.image.as_deref());
        let none = ImageSpec::default();
        let image_spec = own.or(facts.local.then_some(&none)).ok_or(Refusal::NotFound)?;
        let text = machine_files::render(machine_file.reader, image_spec, &facts, here).map_err(|error| {
            tracing::warn!(%name, image = %image_spec.name, "cannot fill in the template: {error:#}");
            Refusal::Template
        })?;
        let text = text.ok_or(Refusal::NotFound)?;
        Ok(written(Arc::new(Image::generated(*name, text.as_bytes(), self.store.memory())?)))
    }

    /// The images that rules name.
    #[must_use]
    pub fn image_specs(&self) -> &[ImageSpec] {
        &self.image_specs
    }

    /// The boot programs of one image, by architecture.
    #[must_use]
    pub fn programs_of(&self, image_spec: &ImageSpec) -> Programs {
        let own = self.root_of(image_spec);
        let loaders = self.mounts.iter().find(|mount| mount.prefix() == LOADERS);
        let given: Vec<_> = image_spec
            .boot_files
            .iter()
            .filter_map(|(arch, file)| Some((*arch, file.trim_start_matches('/').parse().ok()?)))
            .collect();
        let from = match own {
            None if image_spec.is_written() => loaders,
            _ => own,
        };
        // The kernel or the texts decide what boots. A program that reads neither counts only if `boot_files`
        // names it.
        let wanted = if image_spec.is_written() { Wanted::Loaders } else { Wanted::Any };
        let mut programs = usual::programs(from.unwrap_or(self.top()), &given, wanted);
        if image_spec.is_written() {
            if let (Some(loaders), true) = (loaders, own.is_some()) {
                programs.fill(&usual::programs(loaders, &[], Wanted::Any));
            }
            usual::set_written(&mut programs);
        }
        programs
    }

    /// One sentence for each file in an image's own root that conflicts with the image's kernel or texts.
    #[must_use]
    pub fn conflicts_of(&self, image_spec: &ImageSpec) -> Vec<String> {
        let Some(own) = self.root_of(image_spec).filter(|_| image_spec.is_written()) else {
            return Vec::new();
        };
        let named = |arch: Arch| image_spec.boot_files.iter().any(|(known, _)| *known == arch);
        let usual = usual::choose(own, &[], Wanted::Any).into_iter();
        let programs = usual.filter(|(arch, name)| !named(*arch) && usual::role(name) != Role::Loader);
        let programs = programs.map(|(arch, name)| {
            format!(
                "image `{}`: {arch} machines do not start {name} in its root, because the image has a kernel or \
                 scripts: remove the file, or name it in `boot_files`",
                image_spec.name
            )
        });
        let config = |name: &&str| name.parse().is_ok_and(|name| own.probe(&name).is_ok());
        let configs = ["grub.cfg", "grub/grub.cfg"].into_iter().filter(config).map(|name| {
            format!(
                "image `{}`: GRUB reads {name} in its root instead of the configuration that pxed writes for the \
                 kernel: remove the file, or `kernel`",
                image_spec.name
            )
        });
        programs.chain(configs).collect()
    }

    /// The mount of an image's own files. `None` if the image has no root of its own.
    fn root_of(&self, image_spec: &ImageSpec) -> Option<&Mount> {
        self.mounts.iter().find(|mount| image_spec.has_own_files() && mount.prefix() == &*image_spec.name)
    }

    /// One sentence for each file of an image that does not exist or cannot be served.
    #[must_use]
    pub fn missing_of(&self, image_spec: &ImageSpec) -> Vec<String> {
        if image_spec.is_awaited() {
            return vec![format!(
                "image `{}` is not here yet: pxed serves it when its source has answered",
                image_spec.name
            )];
        }
        let files = image_spec.kernel.iter().chain(&image_spec.initrd).chain(&image_spec.payload);
        let files = files.chain(image_spec.boot_files.iter().map(|(_, file)| file));
        let missing = files.filter_map(|file| {
            let (refusal, near) = match image_spec.whole(file).parse() {
                Ok(name) => (self.probe(&name).err()?, self.near(&name)),
                Err(refusal) => (refusal, String::new()),
            };
            Some(format!("image `{}`: {file}: {}{near}", image_spec.name, refusal.remedy()))
        });
        let mut missing: Vec<_> = missing.collect();
        if self.programs_of(image_spec).iter().next().is_none() {
            missing.push(format!(
                "image `{}` has no boot program for any architecture: name one (`bios = \"...\"`, `x64 = \"...\"`), or \
                 install boot loaders (`apt-get install pxelinux syslinux-common ipxe`)",
                image_spec.name
            ));
        }
        missing
    }

    /// One sentence for each of the two most common architectures that has no boot loader to start the
    /// image's kernel or texts.
    #[must_use]
    pub fn unsupported_of(&self, image_spec: &ImageSpec) -> Vec<String> {
        let programs = self.programs_of(image_spec);
        // An image without any program is an error of [`Self::missing_of`] already.
        if !image_spec.is_written() || programs.iter().next().is_none() {
            return Vec::new();
        }
        let unreached = [(Arch::BIOS, INSTALL_PXELINUX), (Arch::X64, INSTALL_IPXE)].into_iter();
        let unreached = unreached.filter(|(arch, _)| programs.get(*arch).is_none());
        unreached
            .map(|(arch, install)| {
                format!(
                    "image `{}`: {arch} machines get nothing, since no boot loader for them is installed: {install}, or name a \
                     loader in the image's `boot_files`",
                    image_spec.name
                )
            })
            .collect()
    }

    /// The role of a file in a boot.
    pub(super) fn role(&self, name: &FileName) -> Role {
        self.roles.get(name).copied().unwrap_or_else(|| usual::role(name))
    }

    /// Sets the roles that names do not show: the last file that each image needs, and boot programs that are
    /// the payload themselves.
    pub(super) fn set_roles(&mut self) {
        let programs = |programs: &Programs| -> Vec<FileName> {
            programs.iter().filter_map(|(_, program)| program.file.as_str().parse().ok()).collect()
        };
        let mut roles = HashMap::new();
        let without = self.image_specs.iter().filter(|image_spec| image_spec.payload().is_none());
        let own = without.flat_map(|image_spec| programs(&self.programs_of(image_spec)));
        roles.extend(own.chain(programs(&self.programs())).map(|name| (name, Role::Payload)));
        // A boot program that loads more is no payload.
        roles.retain(|name, _| usual::role(name) == Role::Other);
        // What the configuration names is the payload, whatever its name: an initrd may be a `preseed.cfg`.
        let named = self.image_specs.iter().filter_map(ImageSpec::payload);
        roles.extend(named.filter_map(|name| Some((name.parse().ok()?, Role::Payload))));
        self.roles = roles;
    }
}
