//! Options of dnsmasq whose name alone decides the disposition. Most of them have nothing to do with booting.

use super::finding::Disposition;

/// Options for DNS.
const DNS: &[&str] = &[
    "add-cpe-id",
    "add-mac",
    "add-subnet",
    "addn-hosts",
    "address",
    "alias",
    "all-servers",
    "auth-peer",
    "auth-sec-servers",
    "auth-server",
    "auth-soa",
    "auth-ttl",
    "auth-zone",
    "bogus-nxdomain",
    "bogus-priv",
    "caa-record",
    "cache-size",
    "cache-rr",
    "clear-on-reload",
    "cname",
    "connmark-allowlist",
    "conntrack",
    "dns-forward-max",
    "dns-loop-detect",
    "dns-rr",
    "dnssec",
    "dnssec-check-unsigned",
    "dnssec-debug",
    "dnssec-no-timecheck",
    "dnssec-timestamp",
    "do-0x20-encode",
    "domain",
    "domain-needed",
    "domain-suffix",
    "dynamic-host",
    "edns-packet-max",
    "expand-hosts",
    "fast-dns-retry",
    "filter-A",
    "filter-AAAA",
    "filter-rr",
    "filterwin2k",
    "host-record",
    "hostsdir",
    "ignore-address",
    "interface-name",
    "ipset",
    "local",
    "local-service",
    "local-ttl",
    "localise-queries",
    "localmx",
    "log-queries",
    "max-cache-ttl",
    "max-port",
    "max-ttl",
    "min-cache-ttl",
    "min-port",
    "mx-host",
    "mx-target",
    "naptr-record",
    "neg-ttl",
    "nftset",
    "no-0x20-encode",
    "no-hosts",
    "no-ident",
    "no-negcache",
    "no-poll",
    "no-resolv",
    "no-round-robin",
    "proxy-dnssec",
    "ptr-record",
    "query-port",
    "rebind-domain-ok",
    "rebind-localhost-ok",
    "resolv-file",
    "rev-server",
    "selfmx",
    "server",
    "servers-file",
    "srv-host",
    "stop-dns-rebind",
    "strict-order",
    "strip-mac",
    "strip-subnet",
    "synth-domain",
    "trust-anchor",
    "txt-record",
    "umbrella",
    "use-stale-cache",
    "port-limit",
    "max-tcp-connections",
];

const LEASES: &[&str] = &[
    "bootp-dynamic",
    "dhcp-alternate-port",
    "dhcp-authoritative",
    "dhcp-broadcast",
    "dhcp-client-update",
    "dhcp-duid",
    "dhcp-fqdn",
    "dhcp-generate-names",
    "dhcp-hostsdir",
    "dhcp-ignore-clid",
    "dhcp-ignore-names",
    "dhcp-leasefile",
    "dhcp-lease-max",
    "dhcp-luascript",
    "dhcp-name-match",
    "dhcp-optsdir",
    "dhcp-optsfile",
    "dhcp-pxe-vendor",
    "dhcp-rapid-commit",
    "dhcp-reply-delay",
    "dhcp-script",
    "dhcp-scriptuser",
    "dhcp-sequential-ip",
    "dhcp-split-relay",
    "dhcp-ttl",
    "enable-ra",
    "leasefile-ro",
    "leasequery",
    "no-dhcpv4-interface",
    "no-dhcpv6-interface",
    "no-ping",
    "quiet-dhcp",
    "quiet-dhcp6",
    "quiet-ra",
    "ra-param",
    "read-ethers",
    "script-arp",
    "script-on-renewal",
    "shared-network",
];

const PROCESS: &[&str] = &[
    "conf-script",
    "dumpfile",
    "dumpmask",
    "enable-dbus",
    "enable-ubus",
    "group",
    "keep-in-foreground",
    "log-async",
    "log-debug",
    "log-facility",
    "log-malloc",
    "no-daemon",
    "pid-file",
    "test",
    "user",
];

const NOT_NEEDED: &[(&str, &str)] = &[
    ("bind-dynamic", "pxed opens sockets on its own interfaces only, and notices when one comes back"),
    ("bind-interfaces", "pxed opens sockets on its own interfaces only"),
    ("dhcp-no-override", "pxed writes the boot file's name where firmware reads it"),
    ("enable-tftp", "pxed always serves TFTP on its interfaces"),
    ("log-dhcp", "pxed logs every machine that it answers; RUST_LOG=debug shows more"),
    ("quiet-tftp", "RUST_LOG=warn does that"),
    ("tftp-no-fail", "pxed checks its files at the start: `pxed check` shows what is missing"),
    ("tftp-secure", "pxed serves files that everybody on the host may read, and no others: chmod o+r"),
];

const NOT_SUPPORTED: &[(&str, &str)] = &[
    ("dhcp-relay", "pxed is no relay; leave it with dnsmasq or the router"),
    ("dhcp-proxy", "pxed gives out no addresses and passes no requests on; leave it with dnsmasq"),
    ("tftp-lowercase", "names are looked up as machines write them; give the files lower-case names"),
    (
        "tftp-port-range",
        "pxed chooses the ports of transfers itself; let the firewall pass UDP from the machines to this host",
    ),
    (
        "tftp-single-port",
        "pxed chooses the ports of transfers itself; let the firewall pass UDP from the machines to this host",
    ),
    (
        "tftp-unique-root",
        "there is no root for each address; write an image with a `root` and a rule with `mac` for each such machine",
    ),
];

/// The disposition of an option, if its name alone decides it.
pub(super) fn disposition(key: &str, gives_leases: bool) -> Option<Disposition> {
    let named =
        |table: &[(&str, &'static str)]| table.iter().find(|(name, _)| *name == key).map(|(_, why)| *why);
    if DNS.contains(&key) {
        return Some(Disposition::Unchanged("stays with dnsmasq (DNS)".to_owned()));
    }
    if LEASES.contains(&key) || key.starts_with("dhcp-option6") {
        return Some(leases(gives_leases));
    }
    if PROCESS.contains(&key) {
        return Some(Disposition::Unchanged("stays with dnsmasq (how it runs)".to_owned()));
    }
    if let Some(why) = named(NOT_NEEDED) {
        return Some(Disposition::NotNeeded(why.to_owned()));
    }
    named(NOT_SUPPORTED).map(|why| Disposition::NotSupported(why.to_owned()))
}

/// The disposition of an option about DHCP addresses.
pub(super) fn leases(gives_leases: bool) -> Disposition {
    if gives_leases {
        Disposition::Unchanged("stays with dnsmasq (DHCP addresses)".to_owned())
    } else {
        Disposition::NotNeeded("pxed never gives out addresses".to_owned())
    }
}
