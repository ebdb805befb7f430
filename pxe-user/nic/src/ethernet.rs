//! Ethernet addresses as the kernel writes them in sysfs and procfs.

/// Six bytes in the order of the wire.
pub type EthernetAddress = [u8; 6];

/// Parses an address such as `02:00:00:00:00:5a`.
pub(super) fn parse(text: &str) -> Option<EthernetAddress> {
    let mut address = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut address {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(address)
}
