//! `pxed check`: what is wrong with the configuration and its files, and what would be served where, and why. Starts
//! nothing; the kernel program is loaded and let go again. Whatever is wrong, the rest is said, too.

use std::io::{self, Write};

use anyhow::{Context as _, Result, bail};
use rustix::process::geteuid;

use super::serve::Serve;
use crate::boot::{self, Catalogue, CatalogueError, Recipe, Source};
use crate::config::{Config, Problem, Severity};
use crate::dhcp::Arch;
use crate::nic::programs::{Programs, takes_several_buffers};
use crate::plan::{DhcpPath, Plan};
use crate::server::Options;
use crate::tftp::terms::Limits;

/// The architectures that machines in labs have.
const COMMON: [Arch; 6] = [Arch(0), Arch(6), Arch(7), Arch(9), Arch(10), Arch(11)];

pub(super) fn run(serve: &Serve) -> Result<()> {
    let (file, problems) = read(serve)?;
    let mut report = Report { out: std::io::stdout().lock(), errors: 0 };
    for problem in &problems {
        report.problem(problem)?;
    }
    if let Some(file) = &file {
        files(&mut report, serve, file)?;
        interfaces(&mut report, serve, file)?;
    }
    match report.errors {
        0 => Ok(()),
        1 => bail!("there is an error, and pxed would not do what the configuration says"),
        errors => bail!("there are {errors} errors, and pxed would not do what the configuration says"),
    }
}

/// The configuration as far as it can be understood.
fn read(serve: &Serve) -> Result<(Option<Config>, Vec<Problem>)> {
    let Some(path) = &serve.config else { return Ok((Some(Config::default()), Vec::new())) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Config::parse(&text))
}

/// Where lines go, and how many of them say that something is wrong.
struct Report<W> {
    out: W,
    errors: usize,
}

impl<W: Write> Report<W> {
    fn problem(&mut self, problem: &Problem) -> io::Result<()> {
        self.errors += usize::from(problem.severity == Severity::Error);
        writeln!(self.out, "{problem}")
    }

    fn error(&mut self, line: Option<usize>, text: impl ToString) -> io::Result<()> {
        self.problem(&Problem { line, severity: Severity::Error, text: text.to_string() })
    }
}

/// What is served, and what of it is not there.
fn files(report: &mut Report<impl Write>, serve: &Serve, file: &Config) -> Result<()> {
    let setup = match serve.setup(file) {
        Ok(setup) => setup,
        Err(error) => return Ok(report.error(None, format!("{error:#}"))?),
    };
    let line = |recipe: &Recipe| {
        let at = file.recipes.iter().position(|known| known.name == recipe.name)?;
        file.recipe_lines.get(at).copied()
    };
    for recipe in &file.recipes {
        if let Some(text) = hides(&setup.files, recipe) {
            report.problem(&Problem { line: line(recipe), severity: Severity::Warning, text })?;
        }
    }
    let (catalogue, is_whole) = open(report, setup.files, line)?;
    let Some(catalogue) = catalogue else { return Ok(()) };
    for recipe in catalogue.recipes().iter().filter(|recipe| is_whole || recipe.root.is_some()) {
        for missing in catalogue.missing_of(recipe) {
            report.error(line(recipe), missing)?;
        }
        for text in catalogue.overruled_of(recipe) {
            report.problem(&Problem { line: line(recipe), severity: Severity::Warning, text })?;
        }
    }
    programs(&mut report.out, &catalogue)?;
    if catalogue.recipes().is_empty() {
        for missing in catalogue.missing() {
            writeln!(report.out, "missing: {missing}")?;
        }
    }
    Ok(())
}

/// Opens all that can be opened; what cannot is said and left out. Also whether what everybody gets is among it.
fn open(
    report: &mut Report<impl Write>,
    mut files: boot::Config,
    line: impl Fn(&Recipe) -> Option<usize>,
) -> Result<(Option<Catalogue>, bool)> {
    let mut is_whole = true;
    loop {
        let error = match Catalogue::open(files.clone()) {
            Ok(catalogue) => return Ok((Some(catalogue), is_whole)),
            Err(error) => error,
        };
        match &error {
            CatalogueError::ImageRoot { image, .. } => {
                let at = files.recipes.iter().find(|recipe| *recipe.name == **image).and_then(&line);
                report.error(at, &error)?;
                files.recipes.retain(|recipe| *recipe.name != **image);
            }
            CatalogueError::Root { root, .. } => {
                report.error(None, &error)?;
                // Else it is the host's own root directory: nothing is left to leave out.
                if !matches!(&files.source, Source::Tree { root: top, .. } if top == root) {
                    return Ok((None, is_whole));
                }
                is_whole = false;
                files.boot_files.clear();
                files.source = Source::Virtual { system: files.system.clone() };
            }
            CatalogueError::BootFile { .. } if !files.boot_files.is_empty() => {
                report.error(None, &error)?;
                files.boot_files.clear();
            }
            _ => {
                report.error(None, &error)?;
                return Ok((None, is_whole));
            }
        }
    }
}

/// What an image's own names hide of the tree that everybody gets.
fn hides(files: &boot::Config, recipe: &Recipe) -> Option<String> {
    let Source::Tree { root, .. } = &files.source else { return None };
    let path = root.join(&*recipe.name);
    // A file of that name is served all the same: only what is below the name is the image's.
    let hidden = recipe.root.is_some() && path.is_dir();
    hidden.then(|| {
        format!(
            "image `{}` hides the directory {}: nobody gets its files, so give the image or the directory another name",
            recipe.name,
            path.display()
        )
    })
}

/// What is planned for each interface. One that is only in the file may be on another host than this.
fn interfaces(report: &mut Report<impl Write>, serve: &Serve, file: &Config) -> Result<()> {
    if serve.interfaces.is_empty() && file.interfaces.is_empty() {
        let text = "no interface is named, so only files were looked at: write `interfaces = [\"eth0\"]` into the file, or \
                    give --interface";
        return Ok(writeln!(report.out, "{text}")?);
    }
    let options = match serve.options(file) {
        Ok(options) => options,
        Err(error) => return Ok(report.error(None, format!("{error:#}"))?),
    };
    for name in &options.interfaces {
        let Options { address, datapath, mode, windowsize, .. } = options;
        match Plan::decide(name, address, datapath, mode) {
            Ok(plan) => interface(&mut report.out, &plan, windowsize)?,
            Err(error) if serve.interfaces.is_empty() => {
                writeln!(report.out, "{name}: not to be served on this host: {error}")?
            }
            Err(error) => report.error(None, error)?,
        }
    }
    Ok(())
}

fn interface(out: &mut impl Write, plan: &Plan, windowsize: u16) -> Result<()> {
    let interface = &plan.interface;
    writeln!(
        out,
        "{} ({}), address {}, MTU {}",
        interface.name, interface.mac, plan.subnet.address, interface.mtu
    )?;
    if let Some(text) = others(plan) {
        writeln!(out, "  {text}")?;
    }
    let xdp = match plan.modes.as_slice() {
        [] => false,
        [mode, ..] => match Programs::load(interface.queues, 16, takes_several_buffers(*mode, interface.mtu))
        {
            Ok(_) => true,
            // Without rights nothing can be tried, and a service has them.
            Err(error) if !geteuid().is_root() => {
                return Ok(writeln!(out, "  datapath: seen as root only, so run this with sudo ({error})")?);
            }
            Err(error) => {
                let then =
                    if plan.may_fall_back { "plain sockets would serve" } else { "pxed would not start" };
                writeln!(out, "  XDP is not possible: {error}; {then}")?;
                false
            }
        },
    };
    let datapath = if xdp { "xdp" } else { "socket" };
    writeln!(out, "  datapath: {datapath}; {}", plan.why)?;
    if xdp {
        writeln!(out, "  receive queues: {}, one worker each", interface.queues)?;
        writeln!(
            out,
            "  DHCP: broadcasts are copied and passed on, requests to our address are {}",
            DhcpPath::decide(interface).explain()
        )?;
    }
    let limits = Limits::for_mtu(plan.path_mtu(xdp), windowsize);
    writeln!(out, "  TFTP: blksize up to {}, windowsize up to {}", limits.blksize, limits.windowsize)?;
    Ok(())
}

/// The addresses that are not served: machines that reach us by one of them only would get nothing.
fn others(plan: &Plan) -> Option<String> {
    let own = plan.subnet.address;
    let others = plan.interface.addresses.iter().map(|subnet| subnet.address).filter(|other| *other != own);
    let others: Vec<_> = others.map(|other| other.to_string()).collect();
    (!others.is_empty()).then(|| {
        format!(
            "{own} only is served: machines are told to load from there, and requests to {} are left to this host. Choose \
             another one with `address` or --address",
            others.join(", ")
        )
    })
}

/// What architectures start with: by each image, or what everybody gets.
fn programs(out: &mut impl Write, catalogue: &Catalogue) -> Result<()> {
    for recipe in catalogue.recipes() {
        let programs = catalogue.programs_of(recipe);
        let all: Vec<_> =
            programs.iter().map(|(arch, program)| format!("{arch} {}", program.file.as_str())).collect();
        let all = if all.is_empty() { "nothing".to_owned() } else { all.join(", ") };
        writeln!(out, "image {}: {all}", recipe.name)?;
    }
    if !catalogue.recipes().is_empty() {
        return Ok(());
    }
    let programs = catalogue.programs();
    for arch in COMMON {
        match programs.get(arch) {
            Some(program) => writeln!(out, "{arch}: {}", program.file.as_str())?,
            None => writeln!(out, "{arch}: nothing")?,
        }
    }
    Ok(())
}
