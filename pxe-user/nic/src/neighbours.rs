//! The kernel's neighbour table: the Ethernet addresses of IPv4 addresses on the link.

use std::net::Ipv4Addr;

use super::ethernet::{self, EthernetAddress};

/// Returns the Ethernet address of a neighbour, which a plain socket does not show. `None` if the table has
/// no entry for it, or if the neighbour has not answered yet.
#[must_use]
pub fn ethernet_address(address: Ipv4Addr) -> Option<EthernetAddress> {
    let table = std::fs::read_to_string("/proc/net/arp").ok()?;
    find(&table, address)
}

fn find(table: &str, address: Ipv4Addr) -> Option<EthernetAddress> {
    let address = address.to_string();
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&address))?;
    let mac = ethernet::parse(line.split_whitespace().nth(3)?)?;
    // The kernel writes all zeros in an entry whose neighbour has not answered yet.
    Some(mac).filter(|mac| *mac != [0; 6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_when_its_machine_has_answered() {
        let table = "\
IP address       HW type     Flags       HW address            Mask     Device
10.0.0.5         0x1         0x2         02:00:00:00:00:5a     *        eth0
10.0.0.6         0x1         0x0         00:00:00:00:00:00     *        eth0
";
        assert_eq!(find(table, Ipv4Addr::new(10, 0, 0, 5)), Some([2, 0, 0, 0, 0, 0x5a]));
        assert_eq!(find(table, Ipv4Addr::new(10, 0, 0, 6)), None);
        assert_eq!(find(table, Ipv4Addr::new(10, 0, 0, 7)), None);
        assert_eq!(find("10.0.0.5 0x1 0x2 02:00", Ipv4Addr::new(10, 0, 0, 5)), None);
    }
}
