//! The load generator: one run, one line of JSON. `cargo xtask bench` starts it.

mod options;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use options::Task;
use pxe_kit::load::Options;
use pxe_load::{fleet, foreign, http, http_boot, reflect};
use rustix::thread::{CpuSet, sched_setaffinity};

fn main() -> Result<()> {
    let options = Options::parse();
    if options.foreign {
        println!("{}", foreign::times()?);
        return Ok(());
    }
    if let Some(cpu) = options.cpu {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        sched_setaffinity(None, &cpus).with_context(|| format!("no processor {cpu}"))?;
    }
    let (kind, task) = options::task(&options)?;
    let mut report = match task {
        Task::Fleet(plan) => fleet::run(&plan)?,
        Task::Http(plan) => http::run(&plan)?,
        Task::HttpBoots(plan) => http_boot::run(&plan)?,
        Task::Reflect(plan) => reflect::run(&plan)?,
        Task::Reflector(interface, program, mode) => {
            return reflect::reflector(interface, program, mode, options.original.as_deref());
        }
    };
    report.kind = kind;
    println!("{}", report.to_json());
    Ok(())
}
