//! What the documentation says of the tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Names with so many words are a test's: nothing else has a sentence for a name.
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
    let top = xtask::command::workspace();
    let sources: String = ["pxe-common", "pxe-ebpf", "pxe-user", "tests", "xtask"]
        .iter()
        .flat_map(|folder| files(&top.join(folder), ".rs"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut documents = files(&top.join("docs"), ".md");
    documents.push(top.join("README.md"));
    let mut named = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            // `begins_like_this_...` stands for a longer name, `..._ends_so` for its end.
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
