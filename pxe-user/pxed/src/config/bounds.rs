//! Bounds that the check of the file and the schema share.

/// The largest number of MiB that a key accepts. A larger number is a mistake.
pub(super) const MIB_MAX: u64 = 1 << 24;
/// The highest VLAN number (IEEE 802.1Q).
pub(super) const VLAN_MAX: u16 = 4094;
/// Names below which pxed serves its own files. No image may have one of these names.
pub(super) const RESERVED: [&str; 4] = ["pxed", "loader", "inbox", "report"];
