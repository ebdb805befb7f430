//! Checks what is served, and reports what is missing of it.

use super::report::{ImagePrograms, Report};
use crate::command::{catalogue, loaders};
use crate::config::{Config, Settings};
use crate::image_cache;
use pxe_content::boot::{self, Catalogue, CatalogueError, ImageSpec, Source};
use pxe_proto::dhcp::Arch;

/// The architectures that the report lists: those of the machines in labs.
const COMMON: [Arch; 6] = [Arch(0), Arch(6), Arch(7), Arch(9), Arch(10), Arch(11)];

pub(super) fn examine(report: &mut Report, file: &Config, settings: &Settings) {
    let files = image_cache::files(settings);
    let line = |image_spec: &ImageSpec| file.line_of_image(&image_spec.name);
    for image_spec in file.images() {
        if let Some(text) = hides(&files, image_spec) {
            report.warning(line(image_spec), text);
        }
    }
    let is_tree = matches!(files.source, Source::Tree { .. });
    let opened = catalogue::open(files);
    for left_out in &opened.errors {
        let key = match &left_out.error {
            CatalogueError::BootFile { .. } => Some("boot_files"),
            CatalogueError::Root { .. } | CatalogueError::NoBootProgram { .. } => Some("root"),
            _ => None,
        };
        let at = left_out.image.as_ref().and_then(line).or(key.and_then(|key| file.line_of_key(key)));
        report.error(at, left_out.error.to_string());
    }
    let Some(catalogue) = opened.catalogue else { return };
    for image_spec in
        catalogue.image_specs().iter().filter(|image_spec| opened.is_whole || image_spec.has_own_files())
    {
        for missing in catalogue.missing_of(image_spec) {
            // Before the first start no cache has anything. `sources` asks whether it will.
            match image_spec.is_awaited() {
                true => report.warning(line(image_spec), missing),
                false => report.error(line(image_spec), missing),
            }
        }
        let warnings = [
            catalogue.conflicts_of(image_spec),
            catalogue.unsupported_of(image_spec),
            loaders::lost(&catalogue, image_spec),
        ];
        for text in warnings.concat() {
            report.warning(line(image_spec), text);
        }
    }
    // With rules, machines get images. They get the tree only through an image that has no root of its own.
    let images = catalogue.image_specs();
    let is_offered = images.is_empty() || images.iter().any(|image_spec| !image_spec.has_own_files());
    if opened.is_whole && is_offered && is_tree {
        for text in loaders::missing(&catalogue) {
            report.warning(file.line_of_key("root"), text);
        }
    }
    programs(report, &catalogue);
}

/// Warns if an image's name is that of a directory in the tree that all machines get, because the image hides that directory.
fn hides(files: &boot::Config, image_spec: &ImageSpec) -> Option<String> {
    let Source::Tree { root, .. } = &files.source else { return None };
    let path = root.join(&*image_spec.name);
    // The image has only the names below its own name, so pxed still serves a file of that name.
    let hidden = image_spec.has_own_files() && path.is_dir();
    hidden.then(|| {
        format!(
            "image `{}` hides the directory {}: no machine gets its files. Give the image or the directory another name",
            image_spec.name,
            path.display()
        )
    })
}

/// Reports what each architecture starts with: for each image, or, without images, for the tree that all machines get.
fn programs(report: &mut Report, catalogue: &Catalogue) {
    for image_spec in catalogue.image_specs() {
        let programs = catalogue.programs_of(image_spec);
        let all = programs.iter().map(|(arch, program)| (arch.to_string(), program.file.as_str().to_owned()));
        report.images.push(ImagePrograms { name: image_spec.name.to_string(), programs: all.collect() });
    }
    if catalogue.image_specs().is_empty() {
        let programs = catalogue.programs();
        let file = |arch: Arch| programs.get(arch).map(|program| program.file.as_str().to_owned());
        report.programs = COMMON.iter().map(|arch| (arch.to_string(), file(*arch))).collect();
        report.missing = catalogue.missing();
    }
}
