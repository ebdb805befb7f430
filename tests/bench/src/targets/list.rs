//! The targets, as data.

use super::super::figures::Figure;
use super::super::responders::Who;
use super::{Bound, Over, Pick, Target};

const DNSMASQ: Over = Over::Who(Pick::Best(&[Who::Dnsmasq]));
const AF_XDP: Pick = Pick::Best(&[Who::Generic, Who::Native]);
const TCX: Pick = Pick::Best(&[Who::GenericOffload]);
const IN_XDP: Pick = Pick::Best(&[Who::NativeOffload]);
/// The mode that `auto` selects on a veth.
const BY_AUTO: Pick = Pick::Best(&[Who::GenericOffload]);
const OFFLOAD: Pick = Pick::Best(&[Who::GenericOffload, Who::NativeOffload]);
const SOCKET: Pick = Pick::Best(&[Who::Socket]);
const WITH_OFFLOAD: &[Who] = &[Who::GenericOffload, Who::NativeOffload];
const OVER_XDP: &[Who] = &[Who::Generic, Who::Native, Who::GenericOffload, Who::NativeOffload];

const OURS_IN_FAULTS: &[Who] = &[Who::Socket, Who::GenericOffload, Who::NativeOffload];

pub(super) const SMALL: &[&str] = &["128 machines, 150 KB, lock-step"];
const LARGE: &[&str] = &["128 machines, 64 MB, lock-step"];
const WINDOWS: &[&str] = &["10 machines, 64 MB, window 16"];
const ONE: &[&str] = &["1 machine, 64 MB, lock-step"];
pub(super) const STORM: &[&str] = &["1000 machines, 150 KB, lock-step, on within 31 ms"];
const BOOTS: &[&str] = &["2000 machines, whole boots, on within 1000 ms"];
const RING_LOSES: &[&str] = &["1000 machines, 150 KB, lock-step, on within 31 ms, a ring that loses"];
const HALL: &[&str] = &["10000 machines, whole boots, on within 10000 ms"];
const IN_A_HALL: &[Who] = &[Who::Socket, Who::GenericOffload];
const KNOWN_65000: &[&str] = &["100 machines, whole boots, on within 1000 ms, of 65000 known"];
const ASKING_128: &[&str] = &["128 machines, DHCP only"];
const ASKING_1000: &[&str] = &["1000 machines, DHCP only"];
const WAITING: &[&str] = &["2000 transfers wait"];
const TCP: &[&str] = &["others: TCP into the host"];
const PROGRAMS: &[&str] = &["kernel programs"];
const HTTP_250: &[&str] = &["HTTP: 250 connections, 150 KB"];
const HTTP_2000: &[&str] = &["HTTP: 2000 connections, 150 KB"];
const HTTP_500: &[&str] = &["HTTP: 500 connections from one address, 150 KB"];
const HTTP_BOOTS: &[&str] = &["HTTP: 2000 machines, whole boots, 150 KB, on within 1000 ms"];
const IDLE: &[&str] = &["idle"];
const LOST: &[&str] =
    &["200 machines, 20 KB, lock-step, 30 % lost", "100 machines, 20 KB, lock-step, 30 % lost"];
const LATE: &[&str] =
    &["200 machines, 20 KB, window 4, 30 % late", "100 machines, 20 KB, window 4, 30 % late"];
const TWICE: &[&str] =
    &["200 machines, 20 KB, window 4, 30 % twice", "100 machines, 20 KB, window 4, 30 % twice"];
const NOISY: &[&str] = &[
    "200 machines, 20 KB, lock-step, 10 % lost 10 % twice 10 % late each way",
    "100 machines, 20 KB, lock-step, 10 % lost 10 % twice 10 % late each way",
];
const KILLED: &[&str] = &["200 machines, 4 MB, lock-step, killed and started again"];
const STOPPED: &[&str] = &["2000 machines, 20 KB, lock-step, stopped for 3 s"];
const REPLACED: &[&str] = &["200 machines, 4 MB, lock-step, on within 1500 ms, file replaced"];
const REWRITTEN: &[&str] = &["200 machines, 4 MB, lock-step, on within 1500 ms, file rewritten in place"];
const STARVED: &[&str] = &[
    "200 machines, 150 KB, lock-step, starved of processor",
    "100 machines, 150 KB, lock-step, starved of processor",
];
const FLOODED: &[&str] = &["100 machines, 150 KB, lock-step, on within 5000 ms, strangers ask meanwhile"];
const LOSSY_BOOTS: &[&str] = &["2000 machines, whole boots, on within 1000 ms, 5 % lost"];
/// One block of 512 bytes for the shortest request: who knows no options gets no less from anybody.
const ONE_BLOCK: f64 = 516.0 / 18.0;
/// The longest that an offer may take, in seconds, for 999 of 1000. iPXE waits for three seconds, U-Boot for a tenth.
const OFFER_MAX: f64 = 0.02;

/// All of them, in the order of the issues that asked for them.
pub const TARGETS: &[Target] = &[
    lock_step("AF_XDP over dnsmasq", SMALL, AF_XDP, Who::Dnsmasq, 7.0),
    lock_step("AF_XDP over dnsmasq", LARGE, AF_XDP, Who::Dnsmasq, 7.0),
    lock_step("AF_XDP over tftpd-hpa", SMALL, AF_XDP, Who::TftpdHpa, 12.0),
    lock_step("AF_XDP over atftpd", SMALL, AF_XDP, Who::Atftpd, 8.0),
    lock_step("offload at tcx over dnsmasq", SMALL, TCX, Who::Dnsmasq, 10.0),
    lock_step("offload at tcx over dnsmasq", LARGE, TCX, Who::Dnsmasq, 10.0),
    lock_step("offload at tcx over its limit row", SMALL, TCX, Who::CopyTcx, 0.9),
    lock_step("offload at tcx over its limit row", LARGE, TCX, Who::CopyTcx, 0.9),
    lock_step("offload in XDP over dnsmasq", SMALL, IN_XDP, Who::Dnsmasq, 25.0),
    lock_step("offload in XDP over dnsmasq", LARGE, IN_XDP, Who::Dnsmasq, 25.0),
    lock_step("offload in XDP over its limit row", SMALL, IN_XDP, Who::CopyRedirect, 0.9),
    lock_step("offload in XDP over its limit row", LARGE, IN_XDP, Who::CopyRedirect, 0.9),
    lock_step("sockets over dnsmasq", SMALL, SOCKET, Who::Dnsmasq, 2.2),
    lock_step("sockets over dnsmasq", LARGE, SOCKET, Who::Dnsmasq, 2.2),
    Target {
        work: "best datapath over the best peer",
        cases: WINDOWS,
        figure: Figure::Rate,
        mine: Pick::Best(Who::OURS),
        over: Over::Who(Pick::Best(Who::PEERS)),
        bound: Bound::AtLeast(4.0),
    },
    over("CPU s/GB: AF_XDP over dnsmasq", LARGE, Figure::Cpu, AF_XDP, Who::Dnsmasq, Bound::AtMost(1.0 / 4.0)),
    over(
        "CPU s/GB: offload over dnsmasq",
        LARGE,
        Figure::Cpu,
        OFFLOAD,
        Who::Dnsmasq,
        Bound::AtMost(1.0 / 15.0),
    ),
    over(
        "time of one exchange: offload over dnsmasq",
        ONE,
        Figure::Exchange,
        OFFLOAD,
        Who::Dnsmasq,
        Bound::AtMost(0.1),
    ),
    Target {
        work: "time until all have it, over dnsmasq's",
        cases: STORM,
        figure: Figure::Seconds,
        mine: Pick::Best(OVER_XDP),
        over: DNSMASQ,
        bound: Bound::AtMost(1.0 / 8.0),
    },
    Target {
        work: "time until all have it, where the ring loses frames, over where it does not",
        cases: RING_LOSES,
        figure: Figure::Seconds,
        mine: Pick::Worst(&[Who::Socket, Who::Generic, Who::GenericOffload]),
        over: Over::Case(STORM[0]),
        bound: Bound::AtMost(1.5),
    },
    own("machines that failed", STORM, Figure::Failed, OVER_XDP, 0.0),
    own("requests repeated", STORM, Figure::RequestsAgain, OVER_XDP, 0.0),
    own("machines that failed", BOOTS, Figure::Failed, OVER_XDP, 0.0),
    own("seconds until an offer, p99.9", BOOTS, Figure::OfferP999, OURS_IN_FAULTS, OFFER_MAX),
    own("p99 over p50", BOOTS, Figure::Tail, OVER_XDP, 2.0),
    own("machines that failed", HALL, Figure::Failed, IN_A_HALL, 0.0),
    own("seconds until an offer, p99.9", HALL, Figure::OfferP999, IN_A_HALL, OFFER_MAX),
    own("seconds until all have booted, who come within 10", HALL, Figure::Seconds, IN_A_HALL, 10.0 * 1.1),
    Target {
        work: "CPU of a boot with 65,000 known machines over that with 100",
        cases: KNOWN_65000,
        figure: Figure::PerBoot,
        mine: BY_AUTO,
        over: Over::Case("100 machines, whole boots, on within 1000 ms, of 100 known"),
        bound: Bound::AtMost(1.1),
    },
    over(
        "DHCP replies over dnsmasq's",
        ASKING_128,
        Figure::Offers,
        AF_XDP,
        Who::Dnsmasq,
        Bound::AtLeast(8.0),
    ),
    over(
        "DHCP replies over dnsmasq's",
        ASKING_1000,
        Figure::Offers,
        AF_XDP,
        Who::Dnsmasq,
        Bound::AtLeast(8.0),
    ),
    own("DISCOVERs repeated", ASKING_128, Figure::DiscoversAgain, OVER_XDP, 0.0),
    own("DISCOVERs repeated", ASKING_1000, Figure::DiscoversAgain, OVER_XDP, 0.0),
    over(
        "others' TCP, in the mode that `auto` takes, over without us",
        TCP,
        Figure::Others,
        Pick::Best(&[Who::GenericOffload]),
        Who::Nobody,
        Bound::AtLeast(0.97),
    ),
    own("program, ns an answer in XDP", PROGRAMS, Figure::Answer, &[Who::NativeOffload], 165.0),
    own("programs, ns an answer at tcx", PROGRAMS, Figure::Answer, &[Who::GenericOffload], 260.0),
    own("programs, ns a foreign TCP segment", PROGRAMS, Figure::ForeignTcp, WITH_OFFLOAD, 20.0),
    own("programs, ns a foreign UDP datagram", PROGRAMS, Figure::ForeignUdp, WITH_OFFLOAD, 20.0),
    own("programs, ns an ARP packet", PROGRAMS, Figure::ForeignArp, WITH_OFFLOAD, 20.0),
    over("HTTP over nginx", HTTP_250, Figure::Rate, BY_AUTO, Who::Nginx, Bound::AtLeast(1.5)),
    over("HTTP over nginx", HTTP_2000, Figure::Rate, BY_AUTO, Who::Nginx, Bound::AtLeast(1.5)),
    over("HTTP, CPU s/GB over nginx's", HTTP_250, Figure::Cpu, BY_AUTO, Who::Nginx, Bound::AtMost(0.7)),
    over("HTTP, CPU s/GB over nginx's", HTTP_2000, Figure::Cpu, BY_AUTO, Who::Nginx, Bound::AtMost(0.7)),
    own("HTTP: connections that failed", HTTP_500, Figure::Failed, &[Who::GenericOffload], 0.0),
    own("machines that failed", HTTP_BOOTS, Figure::Failed, &[Who::GenericOffload], 0.0),
    own("seconds until an offer, p99.9", HTTP_BOOTS, Figure::OfferP999, &[Who::GenericOffload], OFFER_MAX),
    own("seconds from start until ready", IDLE, Figure::Start, WITH_OFFLOAD, 0.2),
    own("idle: per cent of a core", IDLE, Figure::Idle, Who::OURS, 0.1),
    own("idle: wake-ups a second", IDLE, Figure::Wakes, Who::OURS, 5.0),
    own("machines that failed", LOST, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("machines that failed", LATE, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("machines that failed", TWICE, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("machines that failed", NOISY, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("machines that failed", KILLED, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("programs that stay attached", KILLED, Figure::LeftAttached, OURS_IN_FAULTS, 0.0),
    own("machines that failed", STOPPED, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("machines that failed", REPLACED, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("machines that failed", REWRITTEN, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("machines that failed", STARVED, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("machines that failed", FLOODED, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("packets to ports of services", FLOODED, Figure::ToServices, OURS_IN_FAULTS, 0.0),
    own("bytes per byte of a stranger", FLOODED, Figure::ToStranger, OURS_IN_FAULTS, ONE_BLOCK),
    own("machines that failed", LOSSY_BOOTS, Figure::Failed, OURS_IN_FAULTS, 0.0),
    own("bytes per waiting transfer", WAITING, Figure::PerTransfer, Who::OURS, 256.0),
    own("MB of the daemon beside the files", WAITING, Figure::Daemon, Who::OURS, 64.0),
];

/// Throughput in lock-step over that of one other.
const fn lock_step(
    work: &'static str,
    cases: &'static [&'static str],
    mine: Pick,
    other: Who,
    least: f64,
) -> Target {
    over(work, cases, Figure::Rate, mine, other, Bound::AtLeast(least))
}

/// A ratio to one other.
const fn over(
    work: &'static str,
    cases: &'static [&'static str],
    figure: Figure,
    mine: Pick,
    other: Who,
    bound: Bound,
) -> Target {
    Target { work, cases, figure, mine, over: Over::Who(Pick::Best(only(other))), bound }
}

/// A figure of its own, which all have to keep to.
const fn own(
    work: &'static str,
    cases: &'static [&'static str],
    figure: Figure,
    who: &'static [Who],
    most: f64,
) -> Target {
    Target { work, cases, figure, mine: Pick::Worst(who), over: Over::Nothing, bound: Bound::AtMost(most) }
}

const fn only(who: Who) -> &'static [Who] {
    match who {
        Who::TftpdHpa => &[Who::TftpdHpa],
        Who::Atftpd => &[Who::Atftpd],
        Who::CopyTcx => &[Who::CopyTcx],
        Who::CopyRedirect => &[Who::CopyRedirect],
        Who::Nginx => &[Who::Nginx],
        Who::Nobody => &[Who::Nobody],
        _ => &[Who::Dnsmasq],
    }
}
