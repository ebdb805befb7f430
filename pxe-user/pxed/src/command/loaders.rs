//! Checks the configuration files of boot loaders in boot trees, for `check` and `explain`. It finds names of files
//! that do not exist. If a tree is served below an image's name, it also finds absolute names that no longer lead into
//! the tree.

use super::explain::loads;
use pxe_content::boot::{Catalogue, FileName, ImageSpec, LoaderKind};
use pxe_proto::dhcp::Arch;

/// Configuration files that boot loaders read in a boot tree, by their usual names.
const CONFIGS: [(LoaderKind, &str); 8] = [
    (LoaderKind::Pxelinux, "pxelinux.cfg/default"),
    (LoaderKind::Grub, "grub.cfg"),
    (LoaderKind::Grub, "grub/grub.cfg"),
    (LoaderKind::Grub, "boot/grub/grub.cfg"),
    (LoaderKind::Grub, "EFI/BOOT/grub.cfg"),
    (LoaderKind::Grub, "EFI/debian/grub.cfg"),
    (LoaderKind::Grub, "EFI/ubuntu/grub.cfg"),
    (LoaderKind::Ipxe, "boot.ipxe"),
];
/// Where GRUB's network images, as distributions build them, look for their configuration: below the server's root,
/// whatever directory they were loaded from.
const GRUB_PREFIXES: [&str; 2] = ["boot/grub/grub.cfg", "grub/grub.cfg"];

/// Endings that PXELINUX appends to a name without one of them, in this order (its `kernel` may be a module).
const ENDINGS: [&str; 7] = ["", ".cbt", ".0", ".com", ".c32", ".bss", ".bin"];

/// The files that configurations in the common boot tree load and that do not exist, one sentence for each.
pub(super) fn missing(catalogue: &Catalogue) -> Vec<String> {
    let mut missing: Vec<String> =
        CONFIGS.iter().flat_map(|(reader, config)| missing_in(catalogue, *reader, config)).collect();
    let programs = catalogue.programs();
    let is_pxelinux = |file: &str| matches!(file.rsplit('/').next(), Some("pxelinux.0" | "lpxelinux.0"));
    if let Some(program) = programs.get(Arch::BIOS).filter(|program| is_pxelinux(program.file.as_str())) {
        let directory = program.file.as_str().rsplit_once('/').map(|(directory, _)| format!("{directory}/"));
        let configs = format!("{}pxelinux.cfg", directory.unwrap_or_default());
        if program.config.is_none() && !catalogue.is_directory(&configs) {
            missing.push(format!(
                "bios machines start {}, which finds no configuration: there is no {configs}/default. PXELINUX stops there",
                program.file.as_str()
            ));
        }
    }
    missing
}

fn missing_in(catalogue: &Catalogue, reader: LoaderKind, config: &str) -> Vec<String> {
    // The root for relative names differs. PXELINUX uses the directory above `pxelinux.cfg`; GRUB has no relative
    // names; iPXE uses the script's directory.
    let local = |told: &String| {
        let rest = ["(tftp)/", "::", "/"].iter().find_map(|root| told.strip_prefix(root)).unwrap_or(told);
        let is_here = !told.contains("://") && !told.starts_with('(') || told.starts_with("(tftp)/");
        is_here.then(|| rest.trim_start_matches('/').to_owned())
    };
    let endings = if reader == LoaderKind::Pxelinux { &ENDINGS[..] } else { &ENDINGS[..1] };
    let is_missing =
        |name: &String| !endings.iter().any(|ending| is_there(catalogue, &format!("{name}{ending}")));
    let names = names_in(catalogue, reader, config);
    let missing = names.iter().filter_map(|told| Some((told, local(told).filter(is_missing)?)));
    missing.map(|(told, _)| format!("{config} loads {told}, which does not exist")).collect()
}

/// The files that configurations in an image's tree load by a name that leads out of the tree, one sentence for each.
pub(super) fn lost(catalogue: &Catalogue, image_spec: &ImageSpec) -> Vec<String> {
    // With `kernel`, pxed writes the configurations, and they contain whole names.
    if !image_spec.has_own_files() || image_spec.kernel.is_some() {
        return Vec::new();
    }
    let mut lost: Vec<String> = CONFIGS
        .iter()
        .flat_map(|(reader, config)| {
            lost_in(catalogue, &image_spec.name, *reader, &recipe_file(image_spec, config))
        })
        .collect();
    let is_grub = |file: &str| {
        file.rsplit('/').next().is_some_and(|base| base.starts_with("grub") || base.starts_with("core."))
    };
    let programs = catalogue.programs_of(image_spec);
    if programs.iter().any(|(_, program)| is_grub(program.file.as_str())) {
        let moved = GRUB_PREFIXES.iter().find(|name| is_there(catalogue, &recipe_file(image_spec, name)));
        if let Some(name) = moved.filter(|name| !is_there(catalogue, name)) {
            lost.push(format!(
                "image `{image}`: GRUB looks for /{name}, if it was built that way, and the image has it as {image}/{name}: serve \
                 this tree as `root`, or build GRUB with the prefix /{image}/{}",
                name.trim_end_matches("/grub.cfg"),
                image = image_spec.name,
            ));
        }
    }
    lost
}

/// The same for one configuration file, given by its whole name.
pub(super) fn lost_in(catalogue: &Catalogue, image: &str, reader: LoaderKind, config: &str) -> Vec<String> {
    let names = names_in(catalogue, reader, config);
    let absolute = |told: &String| {
        let rest = ["(tftp)/", "::", "/"].iter().find_map(|root| told.strip_prefix(root))?;
        let rest = rest.trim_start_matches('/');
        let moved = format!("{image}/{rest}");
        (!is_there(catalogue, rest) && is_there(catalogue, &moved)).then_some(moved)
    };
    let lost = names.iter().filter_map(|told| Some((told, absolute(told)?)));
    lost.map(|(told, moved)| {
        format!(
            "image `{image}`: {config} loads {told}, which is served as /{moved} here: write that, or a name without the `/`, or \
             serve this tree as `root`"
        )
    })
    .collect()
}

/// The names that a configuration file loads, as they are written there; none if the file does not exist.
fn names_in(catalogue: &Catalogue, reader: LoaderKind, config: &str) -> Vec<String> {
    let text = config.parse().ok().and_then(|name: FileName| catalogue.load(&name).ok());
    text.map(|text| loads::names(reader, &String::from_utf8_lossy(text.bytes()))).unwrap_or_default()
}

fn recipe_file(image_spec: &ImageSpec, file: &str) -> String {
    format!("{}/{file}", image_spec.name)
}

fn is_there(catalogue: &Catalogue, name: &str) -> bool {
    name.parse().is_ok_and(|name| catalogue.probe(&name).is_ok())
}
