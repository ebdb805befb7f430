//! Opens a catalogue without the parts that cannot be opened, for commands that report them: `check` and `explain`.

use pxe_content::boot::{Catalogue, CatalogueError, Config, ImageSpec, Source};

/// The catalogue that could be opened, and what is missing from it.
pub(super) struct Opened {
    /// `None` if nothing can be served.
    pub(super) catalogue: Option<Catalogue>,
    /// Whether the boot tree that every machine gets is part of the catalogue.
    pub(super) is_whole: bool,
    /// The parts that were left out, each with its error.
    pub(super) errors: Vec<LeftOut>,
}

/// A part that cannot be served.
pub(super) struct LeftOut {
    /// The image that was left out; `None` if the error is not about an image.
    pub(super) image: Option<ImageSpec>,
    pub(super) error: CatalogueError,
}

/// Opens the catalogue. After an error it leaves out the part that failed and tries again.
pub(super) fn open(mut files: Config) -> Opened {
    let mut opened = Opened { catalogue: None, is_whole: true, errors: Vec::new() };
    loop {
        let error = match Catalogue::open(files.clone()) {
            Ok(catalogue) => {
                opened.catalogue = Some(catalogue);
                return opened;
            }
            Err(error) => error,
        };
        let mut image = None;
        let goes_on = match &error {
            CatalogueError::ImageRoot { image: name, .. } => {
                let at = files.image_specs.iter().position(|image_spec| *image_spec.name == **name);
                image = at.map(|at| files.image_specs.remove(at));
                image.is_some()
            }
            CatalogueError::Root { root, .. } => {
                // If the root is not the boot tree, it is the host's root directory, and no part is left that could be
                // left out.
                let is_tree = matches!(&files.source, Source::Tree { root: top, .. } if top == root);
                opened.is_whole = false;
                files.boot_files.clear();
                files.source = Source::Virtual { system: files.system.clone() };
                is_tree
            }
            CatalogueError::BootFile { .. } if !files.boot_files.is_empty() => {
                files.boot_files.clear();
                true
            }
            _ => false,
        };
        opened.errors.push(LeftOut { image, error });
        if !goes_on {
            return opened;
        }
    }
}
