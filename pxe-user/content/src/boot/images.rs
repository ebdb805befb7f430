//! The catalogue's images: what each of them starts with, which of their files ends a boot, and the texts that are written
//! for single machines.

use std::collections::HashMap;
use std::sync::Arc;

use super::catalogue::{Catalogue, LOADERS};
use super::discover::{INSTALL_IPXE, INSTALL_PXELINUX};
use super::image::{Image, Role};
use super::mount::Mount;
use super::names::FileName;
use super::personal::{self, Here, Personal};
use super::recipe::Recipe;
use super::refusal::Refusal;
use super::usual::{self, Wanted};
use crate::boot::MachineFacts;
use pxe_proto::dhcp::{Arch, Programs};
use pxe_proto::mac::Mac;

impl Catalogue {
    /// The same as [`Self::load`], and also writes what is written for the machine that asks: `facts` finds it, by the
    /// address in the name or by who asks.
    ///
    /// # Errors
    /// Why it is not served.
    pub fn load_for(
        &self,
        name: &FileName,
        here: Here,
        facts: impl FnOnce(Option<Mac>) -> Option<MachineFacts>,
    ) -> Result<Arc<Image>, Refusal> {
        self.written_or(name, here, facts, |name| self.load(name), |written| written)
    }

    /// Whether a name may mean a text for one machine. Where there are no images only our own names do: a rule can send
    /// machines to their own disks without any.
    pub(super) fn personal(&self, name: &FileName) -> Option<Personal> {
        personal::personal(name).filter(|personal| personal.is_sure || !self.recipes.is_empty())
    }

    /// What is written for the machine that asks, where that is what a name means, else what is found under it.
    pub(super) fn written_or<T>(
        &self,
        name: &FileName,
        here: Here,
        facts: impl FnOnce(Option<Mac>) -> Option<MachineFacts>,
        find: impl Fn(&FileName) -> Result<T, Refusal>,
        written: impl FnOnce(Arc<Image>) -> T,
    ) -> Result<T, Refusal> {
        let personal = self.personal(name);
        let Some(personal) = personal else { return find(name) };
        if !personal.is_sure {
            match find(name) {
                Err(Refusal::NotFound) => {}
                found => return found,
            }
        }
        let facts = facts(personal.mac).ok_or(Refusal::NotFound)?;
        let own = self.recipes.iter().find(|recipe| Some(&*recipe.name) == facts.image.as_deref());
        let none = Recipe::default();
        let recipe = own.or(facts.local.then_some(&none)).ok_or(Refusal::NotFound)?;
        let text = personal::render(personal.reader, recipe, &facts, here).map_err(|error| {
            tracing::warn!(%name, image = %recipe.name, "cannot fill in the template: {error:#}");
            Refusal::Template
        })?;
        let text = text.ok_or(Refusal::NotFound)?;
        Ok(written(Arc::new(Image::generated(*name, text.as_bytes(), self.store.memory())?)))
    }

    /// The images that rules name.
    #[must_use]
    pub fn recipes(&self) -> &[Recipe] {
        &self.recipes
    }

    /// What each architecture starts with, by one of the images.
    #[must_use]
    pub fn programs_of(&self, recipe: &Recipe) -> Programs {
        let own = self.root_of(recipe);
        let loaders = self.mounts.iter().find(|mount| mount.prefix() == LOADERS);
        let given: Vec<_> = recipe
            .boot_files
            .iter()
            .filter_map(|(arch, file)| Some((*arch, file.trim_start_matches('/').parse().ok()?)))
            .collect();
        let from = match own {
            None if recipe.is_written() => loaders,
            _ => own,
        };
        // What boots is said by the kernel or the texts: a program that reads neither counts only if it is named.
        let wanted = if recipe.is_written() { Wanted::Loaders } else { Wanted::Any };
        let mut programs = usual::programs(from.unwrap_or(self.top()), &given, wanted);
        if recipe.is_written() {
            if let (Some(loaders), true) = (loaders, own.is_some()) {
                programs.fill(&usual::programs(loaders, &[], Wanted::Any));
            }
            usual::set_written(&mut programs);
        }
        programs
    }

    /// What of an image's own root does not go with its kernel or texts, a sentence each.
    #[must_use]
    pub fn overruled_of(&self, recipe: &Recipe) -> Vec<String> {
        let Some(own) = self.root_of(recipe).filter(|_| recipe.is_written()) else { return Vec::new() };
        let named = |arch: Arch| recipe.boot_files.iter().any(|(known, _)| *known == arch);
        let usual = usual::choose(own, &[], Wanted::Any).into_iter();
        let programs = usual.filter(|(arch, name)| !named(*arch) && usual::role(name) != Role::Loader);
        let programs = programs.map(|(arch, name)| {
            format!(
                "image `{}`: {arch} machines do not start {name} in its root, because the image has a kernel or \
                 scripts: remove the file, or name it in `boot_files`",
                recipe.name
            )
        });
        let config = |name: &&str| name.parse().is_ok_and(|name| own.probe(&name).is_ok());
        let configs = ["grub.cfg", "grub/grub.cfg"].into_iter().filter(config).map(|name| {
            format!(
                "image `{}`: GRUB reads {name} in its root instead of the configuration that pxed writes for the \
                 kernel: remove the file, or `kernel`",
                recipe.name
            )
        });
        programs.chain(configs).collect()
    }

    /// The part with an image's own files.
    fn root_of(&self, recipe: &Recipe) -> Option<&Mount> {
        self.mounts.iter().find(|mount| recipe.root.is_some() && mount.prefix() == &*recipe.name)
    }

    /// What of an image's files is not there, a sentence each.
    #[must_use]
    pub fn missing_of(&self, recipe: &Recipe) -> Vec<String> {
        let files = recipe.kernel.iter().chain(&recipe.initrd).chain(&recipe.payload);
        let files = files.chain(recipe.boot_files.iter().map(|(_, file)| file));
        let missing = files.filter_map(|file| {
            let (refusal, near) = match recipe.whole(file).parse() {
                Ok(name) => (self.probe(&name).err()?, self.near(&name)),
                Err(refusal) => (refusal, String::new()),
            };
            Some(format!("image `{}`: {file}: {}{near}", recipe.name, refusal.remedy()))
        });
        let mut missing: Vec<_> = missing.collect();
        if self.programs_of(recipe).iter().next().is_none() {
            missing.push(format!(
                "image `{}` has no boot program for any architecture: name one (`bios = \"...\"`, `x64 = \"...\"`), or \
                 install boot loaders (`apt-get install pxelinux syslinux-common ipxe`)",
                recipe.name
            ));
        }
        missing
    }

    /// The architectures of most machines for which no loader can start an image's kernel or texts, a sentence each.
    #[must_use]
    pub fn unreached_of(&self, recipe: &Recipe) -> Vec<String> {
        let programs = self.programs_of(recipe);
        // Without any program there is an error already.
        if !recipe.is_written() || programs.iter().next().is_none() {
            return Vec::new();
        }
        let unreached = [(Arch::BIOS, INSTALL_PXELINUX), (Arch::X64, INSTALL_IPXE)].into_iter();
        let unreached = unreached.filter(|(arch, _)| programs.get(*arch).is_none());
        unreached
            .map(|(arch, install)| {
                format!(
                    "image `{}`: {arch} machines get nothing, since no boot loader for them is installed: {install}, or name a \
                     loader in the image's `boot_files`",
                    recipe.name
                )
            })
            .collect()
    }

    /// What a file is in a boot.
    pub(super) fn role(&self, name: &FileName) -> Role {
        self.roles.get(name).copied().unwrap_or_else(|| usual::role(name))
    }

    /// What names do not tell: the last file that each image needs, and boot programs that are the payload themselves.
    pub(super) fn set_roles(&mut self) {
        let programs = |programs: &Programs| -> Vec<FileName> {
            programs.iter().filter_map(|(_, program)| program.file.as_str().parse().ok()).collect()
        };
        let mut roles = HashMap::new();
        for recipe in &self.recipes {
            let by_name = recipe.payload().and_then(|name| name.parse().ok());
            let own = if by_name.is_none() { programs(&self.programs_of(recipe)) } else { Vec::new() };
            roles.extend(by_name.into_iter().chain(own).map(|name| (name, Role::Payload)));
        }
        roles.extend(programs(&self.programs()).into_iter().map(|name| (name, Role::Payload)));
        roles.retain(|name, _| usual::role(name) == Role::Other);
        self.roles = roles;
    }
}
