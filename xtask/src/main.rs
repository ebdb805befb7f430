//! `cargo xtask`: set-up, the main job, the tests.

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
use xtask::run::{self, Responder};
use xtask::{ebpf, miri, setup, soak, test};

/// Set-up, the main job and the tests of pxed.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing: boot files, the lab's and the tests' tools. Removes nothing, and changes no toolchain
    Setup {
        /// What it is needed for
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
    /// Without one: the same in a lab of network namespaces on this machine, with a DHCP server, the daemon,
    /// and a BIOS and a UEFI machine in QEMU that boot over it. Screens and logs go to out/run. It leaves
    /// nothing else behind. The machines are emulated, since KVM is often broken inside a virtual machine;
    /// PXED_LAB_ACCEL=kvm in the environment uses it all the same.
    #[command(verbatim_doc_comment)]
    Run {
        /// Who answers in the lab: our daemon, or dnsmasq for comparison
        #[arg(long, value_enum, default_value = "pxed")]
        responder: Responder,
        /// Arguments for `pxed serve`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PXED ARGUMENTS")]
        arguments: Vec<OsString>,
    },

    /// Run everything that is checked: formatting, lints, licences, all tests (those that need root through sudo)
    ///
    /// With names, only the tests with one of them in their own or their program's name: `cargo xtask test firmware`.
    Test {
        /// Parts of the names of tests or test programs [default: everything]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Those tests, too, that are left out since they take many minutes each
        #[arg(long)]
        long: bool,
    },

    /// Check a change in less than a minute: formatting, lints, unit tests of what changed; installs nothing
    Check,

    /// Search for inputs that break what must hold: docs/testing.md says what is searched, CONTRIBUTING.md what to do with a find
    ///
    /// Goes on where the last search has ended. Finds go to out/fuzz. The classifier is held against the kernel's where
    /// this is root.
    Fuzz {
        /// Which target [default: each in turn]
        target: Option<String>,
        /// Seconds for each of them
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        time: u64,
        /// What the tests do: five seconds for each, from the seeds, with the same dice each time
        #[arg(long, conflicts_with_all = ["target", "time"])]
        short: bool,
    },

    /// Boot machines for hours while files, configuration and cable change: the daemon must not grow
    ///
    /// Prints now and then how large it is, and at the end a verdict. Fails if a machine does not boot, or if memory,
    /// descriptors, threads, or programs and maps in the kernel are more in the last third of the time than in the second.
    Soak {
        /// For how long [default: 60]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        minutes: Option<f64>,
        /// The same in hours
        #[arg(long, value_name = "N", conflicts_with = "minutes", allow_negative_numbers = true)]
        hours: Option<f64>,
        /// How packets reach the daemon
        #[arg(long, default_value = "xdp", value_parser = ["xdp", "socket"])]
        datapath: String,
    },

    /// Run the tests of unsafe code under Miri, which needs a nightly toolchain with it
    Miri,

    /// Build the committed kernel objects anew, after a change of pxe-ebpf, pxe-common or the crates that they use
    ///
    /// Fetches the compiler into the user's cache the first time (Debian's packages; nothing is installed), and writes the
    /// objects and the record of what they were built from. With PXED_EBPF_COMPILER=FOLDER another compiler does it.
    Ebpf {
        /// Write nothing: fail if the committed objects are not what their sources give
        #[arg(long)]
        check: bool,
    },

    /// Boot Debian's kernels in QEMU: the XDP object loads, and a simulated machine boots over every datapath
    ///
    /// Kernels are fetched once and kept in the user's cache. Nothing is installed, and no root is needed. What a guest
    /// wrote to its console goes to out/vm.
    Vm {
        /// Which kernels (5.10, 6.1, 6.12, newest, arm64) [default: all]
        #[arg(value_name = "KERNEL")]
        kernels: Vec<String>,
        /// Fetch them again, since Debian may have newer ones by now
        #[arg(long)]
        fetch: bool,
    },

    /// Build the memory test that reports over the network: a small kernel and initramfs of installed packages
    ///
    /// Machines boot it over BIOS and UEFI alike; docs/memory-test.md says what it tests and reports. Where no installed
    /// kernel can be read, Debian's is fetched once and kept in the user's cache.
    Image {
        /// Where the files go [default: out/image]
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },

    /// Boot a small fleet in the built-in lab, one machine for each kind of rule, and show what the board says of it
    ///
    /// A BIOS and a UEFI machine, one by UEFI HTTP boot, one that boots its own disk the second time, and one whose memory
    /// goes bad while it is tested. Takes some minutes; pictures and facts go to out/fleet.
    Fleet {
        /// Everything is built: this calls itself so as root
        #[arg(long, hide = true)]
        pxed: Option<PathBuf>,
        #[arg(last = true, hide = true)]
        arguments: Vec<OsString>,
    },

    /// Measure the daemon over each datapath beside what a user would take instead, in namespaces on this machine
    ///
    /// Prints a table for each case and one of the targets; samples, pictures and a page go to out/bench. Takes less than
    /// 20 minutes. Peers are fetched once and kept in the user's cache; nothing is installed of them.
    Bench {
        /// Two minutes, one round: pxed's datapaths beside dnsmasq and what this machine can do at most
        #[arg(long, conflicts_with = "full")]
        short: bool,
        /// All of the matrix: hours
        #[arg(long)]
        full: bool,
        /// What becomes of machines when frames are lost, responders are killed, files change, strangers ask and so on;
        /// three quarters of an hour
        #[arg(long, conflicts_with_all = ["short", "full"])]
        faults: bool,
        /// Judge also rows in which the load generator was the limit
        #[arg(long)]
        judge_limited: bool,
        /// Rounds; figures are medians over them [default: 3, or 1 with --short]
        #[arg(long)]
        rounds: Option<usize>,
        /// How the two hosts share the processors
        #[arg(long, value_enum, default_value = "two-machines")]
        cable: Setup,
        /// Write the results to docs/performance too; those of --faults to docs/reliability
        #[arg(long)]
        publish: bool,
        /// Everything is built: this calls itself so as root
        #[arg(long, hide = true)]
        built: bool,
        /// Only the cases with this in their name
        #[arg(value_name = "WORDS")]
        filter: Option<String>,
    },

    /// Build and check all that a release is made of: packages for Debian and RPM, an archive, symbols, SBOM, SHA-256 sums
    ///
    /// Everything goes to out/release. It is built against an old C library by a compiler in the user's cache, for amd64 and
    /// arm64. Fails if a file is not as it should be. docs/package.md says what each file is for.
    #[command(alias = "package")]
    Release {
        /// Only for this architecture (amd64, arm64)
        #[arg(long, value_parser = Arch::named)]
        arch: Option<Arch>,
    },

    /// The lab with a daemon that is built already: `run` calls this as root
    #[command(hide = true)]
    Lab {
        #[arg(long)]
        pxed: Option<PathBuf>,
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
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
            soak::run(hours.map(|hours| hours * 60.0).or(minutes).unwrap_or(60.0), &datapath)
        }
        Task::Miri => miri::run(),
        Task::Ebpf { check: true } => ebpf::check(),
        Task::Ebpf { check: false } => ebpf::build(),
        Task::Lab { pxed, arguments } => pxe_lab::demo::run(pxed.as_deref(), &arguments),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    // Without a backtrace, whatever RUST_BACKTRACE says: what failed here is the machine's state, not this program.
    let mut told = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        told += &format!("  because: {cause}\n");
    }
    drop(io::stderr().write_all(told.as_bytes()));
    ExitCode::FAILURE
}

/// Sets up, and boots guests with these kernels; all where none is named.
fn guests(names: &[String], anew: bool) -> Result<()> {
    let kernels = pxe_guests::chosen(names)?;
    setup::ensure(setup::VM)?;
    if kernels.iter().any(|kernel| kernel.arch != Arch::HOST) {
        setup::ensure(setup::CROSS)?;
    }
    pxe_guests::run(&kernels, anew)
}
