//! Finds the programs that hold a UDP port.

use std::fs;

use pxe_nic::interface::udp_listeners;

/// A UDP port that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) port: u16,
    /// The program's name; `None` if this user may not see it.
    pub(super) program: Option<String>,
}

/// The programs that hold a port, each once.
pub(super) fn of(port: u16) -> Vec<Holder> {
    let mut programs = programs(&inodes(port));
    programs.sort();
    programs.dedup();
    if programs.is_empty() && !udp_listeners(port).is_empty() {
        return vec![Holder { port, program: None }];
    }
    programs.into_iter().map(|program| Holder { port, program: Some(program) }).collect()
}

/// The inodes of the sockets on a port, from /proc/net.
fn inodes(port: u16) -> Vec<String> {
    let mut inodes = Vec::new();
    for file in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        inodes.extend(text.lines().skip(1).filter_map(|line| inode(line, port)));
    }
    inodes
}

/// The inode in a line of /proc/net/udp; `None` if the line's local port is not `port`.
fn inode(line: &str, port: u16) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = words.get(1)?.rsplit_once(':')?;
    (u16::from_str_radix(local, 16).ok()? == port).then(|| words.get(9).map(|inode| (*inode).to_owned()))?
}

/// The names of the processes that have one of these sockets open.
fn programs(inodes: &[String]) -> Vec<String> {
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    if wanted.is_empty() {
        return Vec::new();
    }
    let has_one = |path: &std::path::Path| {
        let Ok(open) = fs::read_dir(path.join("fd")) else { return false };
        let mut links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.any(|link| link.to_str().is_some_and(|link| wanted.iter().any(|wanted| wanted == link)))
    };
    let processes = processes.filter_map(Result::ok).map(|entry| entry.path());
    let holding = processes.filter(|path| has_one(path));
    holding.filter_map(|path| Some(fs::read_to_string(path.join("comm")).ok()?.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_port() {
        let line = "  350: 00000000:0045 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 21733 2 0 0";
        assert_eq!(inode(line, 69).as_deref(), Some("21733"));
        assert_eq!(inode(line, 67), None);
        assert_eq!(inode("", 67), None);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let holders = of(socket.local_addr().unwrap().port());
        assert!(holders.iter().any(|holder| holder.program.is_some()), "{holders:?}");
    }
}
