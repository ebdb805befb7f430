//! Kernels as they are installed, with their modules.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Error;
use super::modules::Modules;

/// A kernel with all its modules, in a tree as it is installed.
#[derive(Clone, Debug)]
pub struct KernelTree {
    /// The root of the tree: `/` for a kernel of this host.
    pub tree: PathBuf,
    /// The compressed image, in the tree.
    pub image: PathBuf,
    /// The version, as `uname -r` prints it.
    pub version: String,
}

impl KernelTree {
    /// The newest kernel below `root` that this user can read and that has drivers for network cards.
    ///
    /// # Errors
    /// When there is none.
    pub fn newest(root: &Path) -> Result<Self, Error> {
        // Ubuntu lets only root read its kernels.
        let usable = |kernel: &Self| File::open(&kernel.image).is_ok() && kernel.has_network_cards();
        Self::all_in(root).into_iter().rfind(usable).ok_or_else(|| Error::NoKernel(root.to_owned()))
    }

    /// The kernels of a tree, the newest last: `boot/vmlinuz-VERSION`, or `usr/lib/modules/VERSION/vmlinuz`.
    #[must_use]
    pub fn all_in(tree: &Path) -> Vec<Self> {
        let names = |folder: &str| {
            let entries = fs::read_dir(tree.join(folder)).into_iter().flatten();
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        };
        let in_boot = names("boot").filter_map(|name| {
            let version = name.strip_prefix("vmlinuz-")?.to_owned();
            Some((version, tree.join("boot").join(name)))
        });
        let with_modules = names("usr/lib/modules").map(|name| {
            let image = tree.join("usr/lib/modules").join(&name).join("vmlinuz");
            (name, image)
        });
        let whole = |(version, image): (String, PathBuf)| {
            image.is_file().then(|| Self { tree: tree.to_owned(), image, version })
        };
        let mut kernels: Vec<Self> = in_boot.chain(with_modules).filter_map(whole).collect();
        kernels.sort_by_key(|kernel| (numbers(&kernel.version), kernel.version.clone()));
        kernels
    }

    fn has_network_cards(&self) -> bool {
        Modules::of(&self.tree, &self.version).is_ok_and(|modules| modules.has("e1000e"))
    }
}

/// The numbers in a version, so that 6.12 comes behind 6.9.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_of_a_tree_comes_last() {
        let tree = std::env::temp_dir().join(format!("pxed-kernels-{}", std::process::id()));
        for version in ["6.9.1-1-amd64", "6.12.3-1-amd64"] {
            fs::create_dir_all(tree.join("boot")).unwrap();
            fs::write(tree.join("boot").join(format!("vmlinuz-{version}")), "").unwrap();
        }
        // No image in it.
        fs::create_dir_all(tree.join("usr/lib/modules/7.0")).unwrap();
        let versions: Vec<_> = KernelTree::all_in(&tree).into_iter().map(|kernel| kernel.version).collect();
        fs::remove_dir_all(&tree).unwrap();
        assert_eq!(versions, ["6.9.1-1-amd64", "6.12.3-1-amd64"]);
    }
}
