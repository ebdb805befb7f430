//! A catalogue of all that can be opened, for commands that report what cannot.

use pxe_content::boot::{Catalogue, CatalogueError, Config, ImageSpec, Source};

/// A catalogue, as far as there is one.
pub(super) struct Opened {
    /// `None` if there is nothing at all to serve.
    pub(super) catalogue: Option<Catalogue>,
    /// Whether what every machine gets is among it.
    pub(super) is_whole: bool,
    /// What was left out, and why.
    pub(super) errors: Vec<LeftOut>,
}

/// Something that cannot be served.
pub(super) struct LeftOut {
    /// The image that is left out; `None` if it is no image's.
    pub(super) image: Option<ImageSpec>,
    pub(super) error: CatalogueError,
}

/// Opens all that can be opened; what cannot is left out.
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
                // Else it is the host's own root directory: nothing is left to leave out.
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
