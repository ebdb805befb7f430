//! Checks the documentation: the tests that it names, links, the table of contents, commands, configurations.
//!
//! The pages are read in the repository and as an mdBook (`docs/book.toml`), so links in `docs/` must stay below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use pxed::command::Cli;
use pxed::config::Config;

/// A name in code with at least this number of words is the name of a test.
const WORDS: usize = 6;

fn files(below: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, end));
        } else if path.to_str().is_some_and(|path| path.ends_with(end)) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_test_that_the_documentation_names_is_there() {
    let top = pxe_kit::command::workspace();
    let sources: String = ["pxe-common", "pxe-ebpf", "pxe-user", "tests", "xtask"]
        .iter()
        .flat_map(|folder| files(&top.join(folder), ".rs"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut documents = files(&top.join("docs"), ".md");
    documents.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|page| top.join(page)));
    let mut named = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            // `start_of_a_name_...` stands for a longer name, `..._end_of_a_name` for one with this end.
            let (start, rest) = (name.trim_end_matches("..."), name.trim_start_matches("..."));
            let is_name = |name: &str| {
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            };
            let (is_test, sought) = match (name.starts_with("..."), name.ends_with("...")) {
                (true, true) => {
                    (is_name(rest.trim_end_matches("...")), rest.trim_end_matches("...").to_owned())
                }
                (true, false) => (is_name(rest), format!("{rest}(")),
                (false, true) => (is_name(start), format!("fn {start}")),
                (false, false) => (is_name(name) && name.split('_').count() >= WORDS, format!("fn {name}(")),
            };
            if is_test && sought.len() > 8 {
                named += 1;
                assert!(sources.contains(&sought), "{}: there is no test `{name}`", document.display());
            }
        }
    }
    assert!(named > 20, "{named} names");
}

/// The maximum length of the README.
const README_LINES: usize = 150;

/// A Markdown file, with its path below the workspace.
struct Page {
    path: PathBuf,
    text: String,
}

/// A block of code: the language behind the fence, and the lines.
struct Block<'p> {
    language: &'p str,
    lines: Vec<&'p str>,
}

impl Page {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(pxe_kit::command::workspace().join(path)).unwrap();
        Self { path: path.into(), text }
    }

    /// The lines outside of code, and the blocks of code.
    fn parts(&self) -> (Vec<&str>, Vec<Block<'_>>) {
        let (mut prose, mut blocks, mut open) = (Vec::new(), Vec::new(), None);
        for line in self.text.lines() {
            match (line.trim_start().strip_prefix("```"), open.take()) {
                (Some(language), None) => open = Some(Block { language, lines: Vec::new() }),
                (Some(_), Some(block)) => blocks.push(block),
                (None, Some(mut block)) => {
                    block.lines.push(line);
                    open = Some(block);
                }
                (None, None) => prose.push(line),
            }
        }
        assert!(open.is_none(), "{}: a block of code does not end", self.path.display());
        (prose, blocks)
    }

    /// The prose, with `code` in place of inline code.
    fn words(&self) -> String {
        let prose = self.parts().0.join("\n");
        prose.split('`').step_by(2).collect::<Vec<_>>().join("code")
    }

    /// The inline code, with spaces in place of line breaks.
    fn code(&self) -> Vec<String> {
        let prose = self.parts().0.join("\n");
        let code = prose.split('`').skip(1).step_by(2);
        code.map(|code| code.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    /// The targets of links and pictures.
    fn links(&self) -> Vec<String> {
        let words = self.words();
        let targets = words.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        targets.map(|(target, _)| target.to_owned()).collect()
    }

    /// The anchors of the headings.
    fn anchors(&self) -> BTreeSet<String> {
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let headings = self.parts().0.into_iter().filter(|line| line.starts_with('#'));
        headings
            .map(|heading| {
                let slug = slug(heading.trim_start_matches('#').trim());
                let times = known.entry(slug.clone()).or_default();
                *times += 1;
                if *times == 1 { slug } else { format!("{slug}-{}", *times - 1) }
            })
            .collect()
    }
}

/// The anchor that GitHub and mdBook make from a heading.
fn slug(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    heading
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

/// The pages outside `docs/`.
const AT_THE_TOP: [&str; 4] = ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

/// All pages of the documentation.
fn pages() -> Vec<Page> {
    let top = pxe_kit::command::workspace();
    let below = files(&top.join("docs"), ".md");
    let below = below.iter().map(|path| path.strip_prefix(top).unwrap().to_str().unwrap().to_owned());
    let mut paths: Vec<String> = below.chain(AT_THE_TOP.map(str::to_owned)).collect();
    paths.sort();
    assert!(paths.len() > 15, "{paths:?}");
    paths.iter().map(|path| Page::read(path)).collect()
}

/// The target of a page's link, relative to the workspace. None if it is outside.
fn resolve(page: &Path, target: &str) -> Option<PathBuf> {
    let mut path = page.parent()?.to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => (),
            part => path.push(part),
        }
    }
    Some(path)
}

#[test]
fn a_heading_becomes_the_anchor_that_git_hub_makes() {
    for (heading, anchor) in [
        ("The host", "the-host"),
        ("What it tests, and what it cannot test", "what-it-tests-and-what-it-cannot-test"),
        ("1. proxyDHCP", "1-proxydhcp"),
        ("`pxed.toml` & memory_mib", "pxedtoml--memory_mib"),
    ] {
        assert_eq!(slug(heading), anchor);
    }
    let page = Page { path: "x.md".into(), text: "# A\n```sh\n# no heading\n```\n## B\n## A\n".into() };
    assert_eq!(page.anchors().into_iter().collect::<Vec<_>>(), ["a", "a-1", "b"]);
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let top = pxe_kit::command::workspace();
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        for link in page.links() {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (target, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let path = if target.is_empty() { Some(page.path.clone()) } else { resolve(&page.path, target) };
            let Some(path) = path.filter(|path| top.join(path).exists()) else {
                wrong.push(format!("{}: nothing is at {link}", page.path.display()));
                continue;
            };
            // The book contains only `docs/`, and no index pages of folders.
            let in_book = page.path.starts_with("docs");
            if in_book && !(path.starts_with("docs") && top.join(&path).is_file()) {
                wrong.push(format!("{}: {link} is no file of the book", page.path.display()));
            }
            let is_there = || Page::read(path.to_str().unwrap()).anchors().contains(anchor);
            if !anchor.is_empty() && !is_there() {
                wrong.push(format!("{}: no heading for {link}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 80, "{seen} links");
}

#[test]
fn the_books_summary_has_every_page_once() {
    let summary = Page::read("docs/SUMMARY.md");
    let mut listed: Vec<PathBuf> =
        summary.links().iter().map(|link| resolve(&summary.path, link).unwrap()).collect();
    listed.sort();
    let there = pages().into_iter().map(|page| page.path).filter(|path| path.starts_with("docs"));
    let mut there: Vec<PathBuf> = there.filter(|path| *path != summary.path).collect();
    there.sort();
    assert_eq!(listed, there);
}

#[test]
fn the_readme_can_be_read_in_two_minutes() {
    let lines = Page::read("README.md").text.lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines of {README_LINES}: move something to docs/");
}

/// The words of a line as a shell splits them, one list for each command, without comments and redirections.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word): (Vec<Vec<String>>, Vec<String>, Option<String>) =
        (Vec::new(), Vec::new(), None);
    let (mut quote, mut is_target) = (None, false);
    let mut letters = line.chars().peekable();
    let end = |word: &mut Option<String>, words: &mut Vec<String>, is_target: &mut bool| {
        if let Some(word) = word.take()
            && !std::mem::take(is_target)
        {
            words.push(word);
        }
    };
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '<' | '>') => {
                end(&mut word, &mut words, &mut is_target);
                is_target = true;
            }
            (None, '|' | ';' | '&') => {
                end(&mut word, &mut words, &mut is_target);
                if letters.peek() == Some(&letter) {
                    letters.next();
                }
                commands.push(std::mem::take(&mut words));
            }
            (None, _) if letter.is_whitespace() => end(&mut word, &mut words, &mut is_target),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    assert!(quote.is_none(), "a quotation does not end: {line}");
    end(&mut word, &mut words, &mut is_target);
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

/// The command lines of a block, without prompts, and with continued lines joined.
fn typed(block: &Block<'_>) -> Vec<String> {
    let has_prompts = block.language == "console";
    let (mut typed, mut goes_on): (Vec<String>, bool) = (Vec::new(), false);
    for line in &block.lines {
        let start = if goes_on {
            Some(*line)
        } else if has_prompts {
            line.strip_prefix("$ ")
        } else {
            Some(*line)
        };
        let Some(start) = start else { continue };
        let text = start.trim_end_matches('\\').trim();
        match typed.last_mut().filter(|_| goes_on) {
            Some(last) => {
                last.push(' ');
                last.push_str(text);
            }
            None => typed.push(text.to_owned()),
        }
        goes_on = line.ends_with('\\');
    }
    typed
}

/// The words from `pxed` on, if the command runs pxed.
fn of_pxed(words: &[String]) -> Option<&[String]> {
    let is_before = |word: &&String| *word == "sudo" || word.contains('=');
    let words = &words[words.iter().take_while(is_before).count()..];
    let words = words
        .strip_prefix(["podman".to_owned(), "exec".to_owned(), "pxed".to_owned()].as_slice())
        .unwrap_or(words);
    (words.first()? == "pxed").then_some(words)
}

/// Checks that pxed accepts a command line. `--help` and `--version` count as accepted.
fn parses(words: &[String]) -> Result<(), String> {
    match Cli::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn pxed_accepts_every_command_line_in_the_documentation() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        let (_, blocks) = page.parts();
        let blocks = blocks.iter().filter(|block| matches!(block.language, "console" | "sh"));
        for line in blocks.flat_map(typed) {
            for command in commands(&line) {
                let Some(words) = of_pxed(&command) else { continue };
                seen += 1;
                let Err(error) = parses(words) else { continue };
                wrong.push(format!("{}: {line}\n{error}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 40, "{seen} command lines");
}

/// Checks inline code. It often omits values, so only the names of commands and long options are checked.
#[test]
fn commands_and_options_within_sentences_exist() {
    let cli = Cli::command();
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        for code in page.code() {
            let words: Vec<String> = code.split_whitespace().map(str::to_owned).collect();
            let Some([_, name, options @ ..]) = of_pxed(&words) else { continue };
            if !name.bytes().all(|letter| letter.is_ascii_lowercase()) {
                continue;
            }
            seen += 1;
            let Some(command) = cli.find_subcommand(name) else {
                wrong.push(format!("{}: `{code}`: no command `{name}`", page.path.display()));
                continue;
            };
            // A command may have subcommands, such as `image build`.
            let inner = options.first().and_then(|word| command.find_subcommand(word));
            let command = inner.unwrap_or(command);
            let known: Vec<_> =
                command.get_arguments().chain(cli.get_arguments()).filter_map(clap::Arg::get_long).collect();
            for option in options.iter().filter_map(|word| word.strip_prefix("--")) {
                if !known.contains(&option) && option != "help" {
                    wrong.push(format!("{}: `{code}`: no option --{option}", page.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 30, "{seen} commands");
}

/// The commands of `cargo xtask`, from the source code: the command line is not a part of the library.
fn tasks() -> BTreeSet<String> {
    let source = Page::read("xtask/src/main.rs").text;
    let (_, rest) = source.split_once("enum Task {\n").unwrap();
    let (body, _) = rest.split_once("\n}\n").unwrap();
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = variants.filter(|line| line.starts_with(|letter: char| letter.is_ascii_uppercase()));
    let names =
        names.map(|line| line.split(|letter: char| !letter.is_alphanumeric()).next().unwrap().to_lowercase());
    let aliases = body.split("alias = \"").skip(1).filter_map(|rest| rest.split_once('"'));
    names.chain(aliases.map(|(alias, _)| alias.to_owned())).collect()
}

#[test]
fn every_task_of_xtask_in_the_documentation_exists() {
    let tasks = tasks();
    assert!(tasks.contains("run") && tasks.contains("fleet") && tasks.len() > 10, "{tasks:?}");
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = page.text.split_whitespace().collect::<Vec<_>>().join(" ");
        for rest in text.split("cargo xtask ").skip(1) {
            let name: String = rest.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect();
            if name.is_empty() {
                continue;
            }
            seen += 1;
            if !tasks.contains(&name) {
                wrong.push(format!("{}: no `cargo xtask {name}`", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 40, "{seen} tasks");
}

#[test]
fn every_configuration_in_the_documentation_is_valid() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        for block in page.parts().1.iter().filter(|block| block.language == "toml") {
            seen += 1;
            let (config, problems) = Config::parse(&(block.lines.join("\n") + "\n"));
            if config.is_none() || !problems.is_empty() {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                wrong.push(format!(
                    "{}: {}\n{}",
                    page.path.display(),
                    problems.join("\n"),
                    block.lines.join("\n")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(seen > 5, "{seen} configurations");
}
