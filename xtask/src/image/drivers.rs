//! The drivers: everything that may be the card that a machine booted over, and everything that counts memory errors.

use std::path::Path;

use anyhow::Result;

use crate::vm::initramfs::Initramfs;
use crate::vm::kernel::Tree;
use crate::vm::modules::{Module, Modules};

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
pub(super) fn of(kernel: &Tree) -> Result<Vec<Module>> {
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
pub(super) fn add(archive: &mut Initramfs, version: &str, drivers: &[Module]) -> Result<()> {
    let folder = format!("lib/modules/{version}");
    let is_there = |name: &String| drivers.iter().any(|driver| driver.name == *name);
    let (mut needs, mut aliases) = (String::new(), String::new());
    for driver in drivers {
        let name = &driver.name;
        archive.file(&format!("{folder}/{name}.ko"), &driver.bytes);
        let needed = driver.needs().into_iter().filter(is_there).map(|name| format!(" {name}.ko"));
        needs += &format!("{name}.ko:{}\n", needed.collect::<String>());
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

/// Firmware as it is installed: the kernel reads it compressed, too.
fn add_firmware(archive: &mut Initramfs, name: &str) -> Result<()> {
    let files = ["", ".xz", ".zst"].map(|end| format!("{FIRMWARE}/{name}{end}"));
    match files.iter().find(|file| Path::new("/").join(file).is_file()) {
        Some(file) => archive.copy(&Path::new("/").join(file), file),
        None => Ok(()),
    }
}
