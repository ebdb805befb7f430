//! The command line of `cargo xtask`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use pxe_bench::{Form, Setup, Wish};
use pxe_guests::image;
use pxe_kit::arch::Arch;
use pxe_kit::command;
use pxe_lab::fleet;
use pxe_search::miri;
use xtask::program::{Rights, become_program};
use xtask::run::{self, Responder};
use xtask::{ebpf, setup, test};

/// Sets up, runs and tests pxed.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing: boot files, and the tools of lab and tests. Removes nothing, and changes no toolchain
    Setup {
        /// Which commands to set up
        #[arg(long = "for", value_enum, default_value_t, value_name = "PURPOSE")]
        purpose: setup::Purpose,
    },

    /// Boot machines into memtest86+: on a real network, or in a built-in lab
    ///
    /// With an interface: installs what is missing, builds, and serves there as root (through sudo), beside
    /// the network's own DHCP server:
    ///
    ///     cargo xtask run -- --interface eth0
    ///
    /// Everything after `--` goes to `pxed serve`.
    ///
    /// Without one: starts a lab of network namespaces on this machine, with a DHCP server, the daemon, and a
    /// BIOS and a UEFI machine in QEMU that boot from it. Screens and logs go to out/run. Nothing else stays.
    /// The machines are emulated, because KVM often does not work inside a virtual machine. To use KVM, set
    /// PXED_LAB_ACCEL=kvm in the environment.
    #[command(verbatim_doc_comment)]
    Run {
        /// Responder in the lab: pxed, or dnsmasq for comparison
        #[arg(long, value_enum, default_value = "pxed")]
        responder: Responder,
        /// Arguments for `pxed serve`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PXED ARGUMENTS")]
        arguments: Vec<OsString>,
    },

    /// Run all checks: formatting, lints, licences, all tests (those that need root through sudo)
    ///
    /// With names, only the tests with one of the names in their own or their program's name: `cargo xtask test firmware`.
    Test {
        /// Parts of the names of tests or test programs [default: everything]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Also run the ignored tests, which take many minutes each
        #[arg(long)]
        long: bool,
    },

    /// Check a change in less than a minute: formatting, lints, unit tests of the changed packages; installs nothing
    Check,

    /// Search for inputs that violate a property: docs/testing.md lists the properties
    ///
    /// Continues from the last search. Finds go to out/fuzz; CONTRIBUTING.md says what to do with them. As root, the
    /// classifier is also compared with the kernel's verdicts.
    Fuzz {
        /// Target to search [default: each in turn]
        target: Option<String>,
        /// Seconds for each target
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        time: u64,
        /// As in the tests: five seconds for each target, from the seeds, with the same random numbers each time
        #[arg(long, conflicts_with_all = ["target", "time"])]
        short: bool,
    },

    /// Boot machines for hours while files, configuration and cable change: the daemon must not grow
    ///
    /// Prints the daemon's size from time to time, and a verdict at the end. Fails if a machine does not boot, or if
    /// memory, descriptors, threads, or programs and maps in the kernel grow from the second third of the time to the
    /// last one.
    Soak {
        /// Minutes to run [default: 60]
        #[arg(long, value_name = "N", value_parser = positive, allow_negative_numbers = true)]
        minutes: Option<f64>,
        /// Hours to run
        #[arg(long, value_name = "N", conflicts_with = "minutes", value_parser = positive, allow_negative_numbers = true)]
        hours: Option<f64>,
        /// The daemon's datapath
        #[arg(long, default_value = "xdp", value_parser = ["xdp", "socket"])]
        datapath: String,
    },

    /// Three responders share a segment and a ledger in PostgreSQL, and fail while machines boot
    ///
    /// All in network namespaces, beside a foreign DHCP server: a responder is killed, the database is away or does not
    /// answer, responders restart, and random schedules of all that. Prints a table. Fails if a machine does not boot, or
    /// if the ledger lacks a file that a machine has loaded, or has it twice.
    Cluster {
        /// Machines of each written schedule; 0: only the random ones
        #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(..=5000))]
        machines: u32,
        /// Number of random schedules
        #[arg(long, default_value_t = 10, value_name = "N")]
        random: u64,
        /// Seed of the first random schedule; the others follow
        #[arg(long, default_value_t = 1, value_name = "SEED")]
        seed: u64,
        /// The daemons' datapath
        #[arg(long, default_value = "xdp", value_parser = ["xdp", "socket"])]
        datapath: String,
    },

    /// Measure the fleet layers of many responders at one PostgreSQL: boots a second, delay to other boards, sizes
    ///
    /// Without network and datapath: the events that workers report are made up. PostgreSQL is started for it, in a
    /// temporary folder.
    Scale {
        /// Responders, each with its own segment
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100))]
        responders: u32,
        /// Machines, for each row of the table
        #[arg(long, default_values_t = [1000, 10_000, 100_000], value_delimiter = ',', value_name = "N")]
        machines: Vec<u32>,
        /// Steps whose way to another responder's board is measured
        #[arg(long, default_value_t = 200, value_name = "N")]
        probes: u32,
    },

    /// Run the tests of unsafe code under Miri, which needs a nightly toolchain with Miri
    Miri,

    /// Rebuild the committed kernel objects, after a change of pxe-ebpf, pxe-common or the crates that they use
    ///
    /// Downloads the compiler into the user's cache the first time (Debian's packages; nothing is installed), and
    /// writes the objects and the record of their inputs. PXED_EBPF_COMPILER=FOLDER selects another compiler.
    Ebpf {
        /// Write nothing: fail if the committed objects do not match their sources
        #[arg(long)]
        check: bool,
    },

    /// Boot Debian's kernels in QEMU: the XDP object loads, and a simulated machine boots over every datapath
    ///
    /// Kernels are downloaded once, and kept in the user's cache. Nothing is installed, and no root is needed. The guests'
    /// consoles go to out/vm.
    Vm {
        /// Kernels to boot (5.10, 6.1, 6.12, newest, arm64) [default: all]
        #[arg(value_name = "KERNEL")]
        kernels: Vec<String>,
        /// Download the kernels again, because Debian may have newer ones
        #[arg(long)]
        fetch: bool,
    },

    /// Build the memory test that reports over the network: a kernel and an initramfs, from installed packages
    ///
    /// BIOS and UEFI machines can boot it; docs/memory-test.md describes the test and its reports. If no installed
    /// kernel is readable, Debian's is downloaded once, and kept in the user's cache.
    Image {
        /// Folder for the files [default: out/image]
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },

    /// Boot five machines in the built-in lab, by five rules, and show them on the board
    ///
    /// A BIOS and a UEFI machine, one with UEFI HTTP boot, one that boots its own disk the second time, and one whose
    /// memory fails during the test. Takes some minutes. Pictures and answers go to out/fleet.
    Fleet {
        /// Used by this program when it calls itself as root
        #[arg(long, hide = true)]
        pxed: Option<PathBuf>,
        #[arg(last = true, hide = true)]
        arguments: Vec<OsString>,
    },

    /// Measure pxed over each datapath, and other servers, in namespaces on this machine
    ///
    /// Prints a table for each case and one of the targets. Samples, pictures and a page go to out/bench. Takes less than
    /// 20 minutes. The other servers are downloaded once into the user's cache, and not installed.
    Bench {
        /// The main table in two minutes, one round: pxed's datapaths beside dnsmasq and the limits of this machine
        #[arg(long, conflicts_with = "full")]
        short: bool,
        /// Run the whole matrix, for hours
        #[arg(long)]
        full: bool,
        /// Measure boots under faults: lost frames, killed servers, changed files, forged requests and others; three
        /// quarters of an hour
        #[arg(long, conflicts_with_all = ["short", "full"])]
        faults: bool,
        /// Judge also rows in which the load generator was the limit
        #[arg(long)]
        judge_limited: bool,
        /// Number of rounds; figures are medians [default: 3, or 1 with --short]
        #[arg(long)]
        rounds: Option<usize>,
        /// How the two simulated hosts share the processors
        #[arg(long, value_enum, default_value = "two-machines")]
        cable: Setup,
        /// Also write the results to docs/performance, or with --faults to docs/reliability
        #[arg(long)]
        publish: bool,
        /// Used by this program when it calls itself as root
        #[arg(long, hide = true)]
        built: bool,
        /// Only the cases with this in their name
        #[arg(value_name = "WORDS")]
        filter: Option<String>,
    },

    /// Build and check a release: packages for Debian and RPM, an archive, symbols, SBOM, SHA-256 sums
    ///
    /// Everything goes to out/release, for amd64 and arm64. A compiler in the user's cache builds against an old C library.
    /// Fails if a check of a file fails. docs/package.md describes the files.
    #[command(alias = "package")]
    Release {
        /// Build only for this architecture (amd64, arm64)
        #[arg(long, value_parser = Arch::named)]
        arch: Option<Arch>,
    },

    /// The lab with a built daemon: `run` calls this as root
    #[command(hide = true)]
    Lab {
        #[arg(long)]
        pxed: Option<PathBuf>,
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "the time must be a positive number".to_owned())
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Setup { purpose } => setup::ensure(purpose.groups()),
        Task::Run { responder, arguments } => run::run(&arguments, responder),
        Task::Bench { short, full, faults, judge_limited, rounds, cable, publish, built, filter } => {
            let form = match (short, full) {
                (true, _) => Form::Short,
                (_, true) => Form::Full,
                _ if faults => Form::Faults,
                _ => Form::Targets,
            };
            let rounds = rounds.unwrap_or(if short { 1 } else { 3 });
            let programs = command::target_dir().join("release");
            let wish = Wish { form, filter, rounds, setup: cable, judge_limited, programs };
            let set_up = if built { Ok(()) } else { setup::ensure(setup::BENCH) };
            set_up.and_then(|()| pxe_bench::run(&wish, publish, built))
        }
        Task::Release { arch } => setup::ensure(setup::PACKAGE).and_then(|()| pxe_packaging::run(arch)),
        Task::Image { out } => setup::ensure(setup::IMAGE).and_then(|()| image::run(out.as_deref())),
        Task::Vm { kernels, fetch } => guests(&kernels, fetch),
        Task::Fleet { pxed: Some(pxed), .. } => fleet::as_root(&pxed),
        Task::Fleet { pxed: None, .. } => setup::ensure(setup::FLEET).and_then(|()| fleet::run()),
        Task::Test { names, long } => test::run(&names, long),
        Task::Check => test::check(),
        Task::Fuzz { short: true, .. } => pxe_search::check(),
        Task::Fuzz { target, time, .. } => {
            let time = Duration::from_secs(time);
            setup::ensure(setup::FUZZ).and_then(|()| pxe_search::run(target.as_deref(), time))
        }
        Task::Soak { minutes, hours, datapath } => {
            let minutes = hours.map(|hours| hours * 60.0).or(minutes).unwrap_or(60.0);
            let args = [format!("--minutes={minutes}"), format!("--datapath={datapath}")];
            become_program("soak", setup::BENCH, Rights::Root, &args)
        }
        Task::Cluster { machines, random, seed, datapath } => {
            let numbers = [("machines", u64::from(machines)), ("random", random), ("seed", seed)];
            let mut args: Vec<String> = numbers.iter().map(|(name, n)| format!("--{name}={n}")).collect();
            args.push(format!("--datapath={datapath}"));
            become_program("cluster", setup::CLUSTER, Rights::Root, &args)
        }
        Task::Scale { responders, machines, probes } => {
            let machines = machines.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let numbers = [format!("--responders={responders}"), format!("--probes={probes}")];
            let args = [&numbers[..], &[format!("--machines={machines}")]].concat();
            become_program("scale", setup::CLUSTER, Rights::Own, &args)
        }
        Task::Miri => miri::run(),
        Task::Ebpf { check: true } => ebpf::check(),
        Task::Ebpf { check: false } => ebpf::build(),
        Task::Lab { pxed, arguments } => pxe_lab::demo::run(pxed.as_deref(), &arguments),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    // Without a backtrace, even if RUST_BACKTRACE is set: failures here come from the host, not from this program.
    let mut told = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        told += &format!("  because: {cause}\n");
    }
    drop(io::stderr().write_all(told.as_bytes()));
    ExitCode::FAILURE
}

/// Sets up, and boots guests with these kernels, or with all if none is named.
fn guests(names: &[String], anew: bool) -> Result<()> {
    let kernels = pxe_guests::chosen(names)?;
    setup::ensure(setup::VM)?;
    if kernels.iter().any(|kernel| kernel.arch != Arch::HOST) {
        setup::ensure(setup::CROSS)?;
    }
    pxe_guests::run(&kernels, anew)
}
