//! The drivers: everything that may be the card that a machine booted over, and everything that counts memory errors.

use std::path::Path;

use super::Error;
use super::initramfs::Initramfs;
use super::kernel::KernelTree;
use super::modules::{Module, Modules};

/// Folders of which all is taken: cards by whatever maker, their transceivers, memory controllers.
const FOLDERS: &[&str] = &["/drivers/net/ethernet/", "/drivers/net/phy/", "/drivers/edac/"];

/// Single modules: cards of virtual machines and on USB, and the buses that they are found on.
const SINGLE: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_net",
    "vmxnet3",
    "hv_netvsc",
    "xen_netfront",
    "xhci_pci",
    "asix",
    "ax88179_178a",
    "cdc_ether",
    "cdc_ncm",
    "r8152",
    "smsc95xx",
];

/// Cards for the slots of old laptops, which no firmware boots over.
const PCMCIA: &str = "_cs";

/// Drivers whose cards do nothing without firmware, or little. It is taken from this machine if it is there.
const WITH_FIRMWARE: &[&str] = &["bnx2", "bnx2x", "cxgb3", "e100", "qed", "r8169", "tg3"];
const FIRMWARE: &str = "lib/firmware";

/// The drivers of a kernel, in the order in which they need each other. What it has no module for is built in, or unknown
/// to it.
pub(super) fn of(kernel: &KernelTree) -> Result<Vec<Module>, Error> {
    let mut modules = Modules::of(&kernel.tree, &kernel.version)?;
    let in_folders = FOLDERS.iter().flat_map(|folder| modules.below(folder));
    let mut wanted: Vec<String> = in_folders.filter(|name| !name.ends_with(PCMCIA)).collect();
    wanted.extend(SINGLE.iter().filter(|name| modules.has(name)).map(|name| (*name).to_owned()));
    for name in wanted {
        modules.add(&name)?;
    }
    Ok(modules.ordered())
}

/// Puts them into an archive, with the two lists that busybox's modprobe goes by.
pub(super) fn add(archive: &mut Initramfs, version: &str, drivers: &[Module]) -> Result<(), Error> {
    let folder = format!("lib/modules/{version}");
    let (mut needs, mut aliases) = (String::new(), String::new());
    for driver in drivers {
        let name = &driver.name;
        archive.file(&format!("{folder}/{name}.ko"), &driver.bytes);
        needs += &format!("{name}.ko:");
        for needed in all_needed(driver, drivers) {
            needs += &format!(" {needed}.ko");
        }
        needs.push('\n');
        for alias in driver.says("alias") {
            aliases += &format!("alias {alias} {name}\n");
        }
    }
    archive.file(&format!("{folder}/modules.dep"), needs.as_bytes());
    archive.file(&format!("{folder}/modules.alias"), aliases.as_bytes());
    for driver in drivers.iter().filter(|driver| WITH_FIRMWARE.contains(&driver.name.as_str())) {
        for name in driver.says("firmware") {
            add_firmware(archive, &name)?;
        }
    }
    Ok(())
}

/// All that a driver needs, and what that needs, as depmod lists it: modprobe loads the last one first.
fn all_needed<'a>(driver: &Module, drivers: &'a [Module]) -> Vec<&'a str> {
    let mut needed = driver.needs();
    let mut all = Vec::new();
    // Drivers lie behind what they need.
    for module in drivers.iter().rev() {
        if needed.contains(&module.name) {
            all.push(module.name.as_str());
            needed.extend(module.needs());
        }
    }
    all
}

/// Firmware as it is installed: the kernel reads it compressed, too.
fn add_firmware(archive: &mut Initramfs, name: &str) -> Result<(), Error> {
    let files = ["", ".xz", ".zst"].map(|end| format!("{FIRMWARE}/{name}{end}"));
    match files.iter().find(|file| Path::new("/").join(file).is_file()) {
        Some(file) => archive.copy(&Path::new("/").join(file), file),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_needs_is_listed_to_the_ground() {
        let module = |name: &str, needs: &str| Module {
            name: name.to_owned(),
            path: name.into(),
            bytes: format!("\0depends={needs}\0").into_bytes(),
        };
        let drivers = [
            module("failover", ""),
            module("net_failover", "failover"),
            module("other", ""),
            module("virtio_net", "net_failover,virtio"),
        ];
        // The bus is built in.
        assert_eq!(all_needed(&drivers[3], &drivers), ["net_failover", "failover"]);
        assert!(all_needed(&drivers[0], &drivers).is_empty());
    }
}
