//! What is served, and what of it is not there.

use super::report::{ImagePrograms, Report};
use crate::command::{catalogue, loaders};
use crate::config::Config;
use crate::server::Setup;
use pxe_content::boot::{self, Catalogue, CatalogueError, Recipe, Source};
use pxe_proto::dhcp::Arch;

/// The architectures that machines in labs have.
const COMMON: [Arch; 6] = [Arch(0), Arch(6), Arch(7), Arch(9), Arch(10), Arch(11)];

pub(super) fn examine(report: &mut Report, file: &Config, setup: &Setup) {
    let line = |recipe: &Recipe| {
        let at = file.recipes.iter().position(|known| known.name == recipe.name)?;
        file.recipe_lines.get(at).copied()
    };
    for recipe in &file.recipes {
        if let Some(text) = hides(&setup.files, recipe) {
            report.warning(line(recipe), text);
        }
    }
    let opened = catalogue::open(setup.files.clone());
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
    for recipe in catalogue.recipes().iter().filter(|recipe| opened.is_whole || recipe.root.is_some()) {
        for missing in catalogue.missing_of(recipe) {
            report.error(line(recipe), missing);
        }
        let warnings = [
            catalogue.overruled_of(recipe),
            catalogue.unreached_of(recipe),
            loaders::lost(&catalogue, recipe),
        ];
        for text in warnings.concat() {
            report.warning(line(recipe), text);
        }
    }
    // With rules machines get images, and the tree only through those that have none of their own.
    let is_offered = catalogue.recipes().iter().all(|recipe| recipe.root.is_none());
    if opened.is_whole && is_offered && matches!(setup.files.source, Source::Tree { .. }) {
        for text in loaders::missing(&catalogue) {
            report.warning(file.line_of_key("root"), text);
        }
    }
    programs(report, &catalogue);
}

/// What an image's own names hide of the tree that everybody gets.
fn hides(files: &boot::Config, recipe: &Recipe) -> Option<String> {
    let Source::Tree { root, .. } = &files.source else { return None };
    let path = root.join(&*recipe.name);
    // A file of that name is served all the same: only what is below the name is the image's.
    let hidden = recipe.root.is_some() && path.is_dir();
    hidden.then(|| {
        format!(
            "image `{}` hides the directory {}: no machine gets its files. Give the image or the directory another name",
            recipe.name,
            path.display()
        )
    })
}

/// What architectures start with: by each image, or what everybody gets.
fn programs(report: &mut Report, catalogue: &Catalogue) {
    for recipe in catalogue.recipes() {
        let programs = catalogue.programs_of(recipe);
        let all = programs.iter().map(|(arch, program)| (arch.to_string(), program.file.as_str().to_owned()));
        report.images.push(ImagePrograms { name: recipe.name.to_string(), programs: all.collect() });
    }
    if catalogue.recipes().is_empty() {
        let programs = catalogue.programs();
        let file = |arch: Arch| programs.get(arch).map(|program| program.file.as_str().to_owned());
        report.programs = COMMON.iter().map(|arch| (arch.to_string(), file(*arch))).collect();
        report.missing = catalogue.missing();
    }
}
