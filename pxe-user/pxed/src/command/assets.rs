//! Files that packages install beside the program, generated from the command line itself: completions, man pages, and
//! the schema of `pxed.toml`. `cargo xtask release` and packagers of distributions run these commands. Nothing here
//! connects to the daemon.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::Cli;

/// Which shell.
#[derive(Clone, Debug, Args)]
pub(crate) struct Completions {
    /// The shell that the completions are for
    #[arg(value_enum)]
    shell: Shell,
}

/// Shells with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(&self) -> Result<()> {
        print(&self.shell.completions())
    }
}

impl Shell {
    fn completions(self) -> Vec<u8> {
        let shell = match self {
            Self::Bash => clap_complete::Shell::Bash,
            Self::Zsh => clap_complete::Shell::Zsh,
            Self::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut visible(), "pxed", &mut script);
        script
    }
}

/// Where the man pages go.
#[derive(Clone, Debug, Args)]
pub(crate) struct Pages {
    /// The directory for the pages; it is made if it is not there
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Pages {
    pub(super) fn run(&self) -> Result<()> {
        write_pages(&self.directory)
    }
}

/// Prints the schema of `pxed.toml`.
pub(super) fn schema() -> Result<()> {
    print(crate::config::SCHEMA.as_bytes())
}

fn print(bytes: &[u8]) -> Result<()> {
    std::io::stdout().write_all(bytes).context("cannot write to standard output")
}

/// The command line without hidden subcommands, because clap_complete would offer them too.
fn visible() -> Command {
    let whole = Cli::command();
    let subcommands = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut visible = Command::new("pxed")
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(whole.get_arguments().cloned());
    if let Some(about) = whole.get_about() {
        visible = visible.about(about.clone());
    }
    if let Some(about) = whole.get_long_about() {
        visible = visible.long_about(about.clone());
    }
    visible.subcommand_required(true).subcommands(subcommands)
}

fn write_pages(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    // `help` gets no page: it would repeat the text of each command.
    let mut whole = visible().disable_help_subcommand(true);
    whole.build();
    let inner = whole.get_subcommands().flat_map(Command::get_subcommands);
    let inner = inner.filter(|command| command.get_name() != "help");
    for command in whole.get_subcommands().chain(inner).chain([&whole]) {
        let (name, page) = page(command, &whole)?;
        let path = directory.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The file name and text of a command's page.
fn page(command: &Command, whole: &Command) -> Result<(String, Vec<u8>)> {
    let source = format!("pxed {}", whole.get_version().unwrap_or_default());
    // Without a date, the pages of a version are always the same. The date is a space, because roff omits an empty one,
    // and the version would take its place.
    let man = Man::new(command.clone()).date(" ").source(source).manual("pxed");
    let mut text = Vec::new();
    man.render(&mut text).context("cannot make a man page")?;
    let is_top = command.get_name() == whole.get_name();
    let more = if is_top { of_program(whole) } else { of_subcommand() };
    text.extend_from_slice(more.to_roff().as_bytes());
    Ok((man.get_filename(), text))
}

/// The sections on files and exit codes. The codes are those of [`super::exit_code`], and 2, with which clap exits.
fn of_program(whole: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    for (path, what) in [
        ("/etc/pxed/pxed.toml", "The configuration of the service."),
        ("/var/lib/pxed", "What pxed knows of machines."),
        (pxe_web::api::listen::SOCKET, "The socket on which the daemon answers the other commands."),
        ("/usr/share/doc/pxed/docs/pxed.toml", "Every key of the configuration, with an example."),
        ("/usr/share/pxed/pxed.schema.json", "The schema of the configuration, for editors."),
    ] {
        roff.control("TP", []).text([italic(path)]).text([roman(what)]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, what) in [
        ("0", "Success."),
        ("1", "A failure; the message names the remedy."),
        ("2", "A mistake on the command line."),
        (
            "3",
            "An incomplete `pxed import`: lines are not supported or files are missing, which the report names.",
        ),
        ("78", "A mistake in the configuration: another start fails until it is corrected."),
    ] {
        roff.control("TP", []).text([bold(code)]).text([roman(what)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let names = whole.get_subcommands().map(|command| format!("pxed-{}", command.get_name()));
    roff.text(references(names));
    roff
}

fn of_subcommand() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text(references(["pxed".to_owned()]));
    roff
}

fn references(names: impl IntoIterator<Item = String>) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for name in names {
        if !inlines.is_empty() {
            inlines.push(roman(", "));
        }
        inlines.extend([bold(name), roman("(1)")]);
    }
    inlines
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::*;

    #[test]
    fn each_shell_has_a_script_with_the_visible_subcommands() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(shell.completions()).unwrap();
            for word in ["serve", "completions", "take-over"] {
                assert!(script.contains(word), "{shell:?}: {word}");
            }
            assert!(!script.contains("schema"), "{shell:?} offers hidden subcommands");
        }
    }

    #[test]
    fn bash_accepts_its_script_and_offers_serve() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("pxed");
        fs::write(&script, Shell::Bash.completions()).unwrap();
        let checked = Process::new("bash").arg("-n").arg(&script).output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        let complete =
            "source \"$1\"; COMP_WORDS=(pxed se); COMP_CWORD=1; _pxed pxed se pxed; echo \"${COMPREPLY[@]}\"";
        let offered = Process::new("bash").args(["-c", complete, "bash"]).arg(&script).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&offered.stdout).trim(), "serve", "{offered:?}");
    }

    #[test]
    fn every_visible_subcommand_has_a_page_that_names_its_options() {
        let folder = tempfile::tempdir().unwrap();
        write_pages(&folder.path().join("man")).unwrap();
        let mut whole = Cli::command();
        whole.build();
        let read = |name: &str| fs::read_to_string(folder.path().join("man").join(name));
        let mut pages = 1;
        let is_no_help = |command: &&clap::Command| command.get_name() != "help";
        let outer: Vec<_> = whole.get_subcommands().filter(is_no_help).collect();
        let inner: Vec<_> = outer.iter().flat_map(|command| command.get_subcommands()).collect();
        let all = outer.into_iter().chain(inner.into_iter().filter(is_no_help));
        for command in all {
            let name = format!("{}.1", command.get_display_name().unwrap_or_default());
            if command.is_hide_set() {
                assert!(read(&name).is_err(), "{name} is there");
                continue;
            }
            let page = read(&name).unwrap();
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                let written = format!("--{option}").replace('-', "\\-");
                assert!(page.contains(&written), "{name}: {written}");
            }
            assert!(page.contains("pxed\\fR(1)"), "{name} does not name pxed(1)");
            pages += 1;
        }
        let top = read("pxed.1").unwrap();
        assert!(top.contains(&format!(" 1 \" \" \"pxed {}\"", env!("CARGO_PKG_VERSION"))), "{top}");
        assert!(top.contains("serve") && top.contains("EXIT STATUS") && !top.contains("schema\\fR"), "{top}");
        for code in ["0", "1", "2", "3", "78"] {
            assert!(top.contains(&format!("\\fB{code}\\fR")), "no exit status {code}: {top}");
        }
        assert_eq!(fs::read_dir(folder.path().join("man")).unwrap().count(), pages);
    }
}
