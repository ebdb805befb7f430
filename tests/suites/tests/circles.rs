//! The modules of a crate must not depend on each other in a circle, so that each can be read and moved with its
//! dependencies. Imports between a module and its submodules do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use pxe_kit::command;

/// The path of a module from the crate's root.
type Module = Vec<String>;

/// The source code of all modules of a crate, without comments and unit tests.
fn modules(source: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![source.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !["tests", "main"].contains(&name) {
                let inside = path.strip_prefix(source).unwrap().with_extension("");
                let mut module: Module =
                    inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                module.pop_if(|last| last == "mod" || last == "lib");
                found.insert(module, code(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let for_tests: Vec<Module> = found.iter().flat_map(|(module, code)| for_tests(module, code)).collect();
    found.retain(|module, _| !for_tests.contains(module));
    found
}

/// The submodules that are compiled for tests only.
fn for_tests(module: &Module, code: &str) -> Vec<Module> {
    let declared = code.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split(';').next());
    declared.map(|name| [module.as_slice(), &[name.to_owned()]].concat()).collect()
}

fn code(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

/// Expands `a::{b, c::d as e}` to `a::b` and `a::c::d as e`.
fn expand(tree: &str, before: &str, paths: &mut Vec<String>) {
    let Some((start, rest)) = tree.split_once('{') else {
        return paths.push(format!("{before}{}", tree.trim()));
    };
    let before = format!("{before}{}", start.trim());
    let inside = &rest[..rest.rfind('}').unwrap_or(rest.len())];
    let (mut depth, mut from) = (0, 0);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                expand(&inside[from..at], &before, paths);
                from = at + 1;
            }
            _ => {}
        }
    }
    if !inside[from..].trim().is_empty() {
        expand(&inside[from..], &before, paths);
    }
}

/// The paths that a module imports, and those that it re-exports.
fn imports(code: &str) -> (Vec<String>, Vec<String>) {
    let (mut imported, mut exported) = (Vec::new(), Vec::new());
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rsplit('\n').next().unwrap_or_default().trim_start();
        if !line.is_empty() && !line.starts_with("pub") {
            continue;
        }
        let tree = code[at + 4..].split(';').next().unwrap_or_default();
        expand(tree, "", if line.is_empty() { &mut imported } else { &mut exported });
    }
    (imported, exported)
}

/// The module that contains the item of a path in `from`, and the item's name.
fn resolve(all: &BTreeMap<Module, String>, from: &Module, path: &str) -> Option<(Module, String)> {
    let mut parts = path.split(" as ").next()?.trim().split("::").map(str::trim).peekable();
    let mut module = match *parts.peek()? {
        "crate" => Module::new(),
        "self" | "super" => from.clone(),
        child if all.contains_key(&[from.as_slice(), &[child.to_owned()]].concat()) => from.clone(),
        _ => return None,
    };
    while let Some(part) = parts.next_if(|part| ["crate", "self", "super"].contains(part)) {
        if part == "super" {
            module.pop();
        }
    }
    let mut name = String::new();
    for part in parts {
        let inner = [module.as_slice(), &[part.to_owned()]].concat();
        if !all.contains_key(&inner) {
            part.clone_into(&mut name);
            break;
        }
        module = inner;
    }
    Some((module, name))
}

/// For each module, the modules that it uses, without its parents and submodules.
fn uses(all: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let mut exports = BTreeMap::new();
    for (module, code) in all {
        for path in imports(code).1 {
            let Some((owner, item)) = resolve(all, module, &path) else { continue };
            let name = path.split(" as ").nth(1).map_or(item, |name| name.trim().to_owned());
            exports.insert((module.clone(), name), owner);
        }
    }
    let mut uses = BTreeMap::new();
    for (module, code) in all {
        let used: &mut BTreeSet<Module> = uses.entry(module.clone()).or_default();
        for path in imports(code).0 {
            let Some((mut owner, name)) = resolve(all, module, &path) else { continue };
            while let Some(behind) =
                exports.get(&(owner.clone(), name.clone())).filter(|next| **next != owner)
            {
                owner = behind.clone();
            }
            if !owner.starts_with(module) && !module.starts_with(&owner) {
                used.insert(owner);
            }
        }
    }
    uses
}

/// Removes modules that use nothing or are not used, until only circles and the paths between them remain.
fn circles(mut uses: BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    loop {
        let used: BTreeSet<Module> = uses.values().flatten().cloned().collect();
        let before = uses.len();
        uses.retain(|module, of| !of.is_empty() && used.contains(module));
        let left: BTreeSet<Module> = uses.keys().cloned().collect();
        uses.values_mut().for_each(|of| of.retain(|module| left.contains(module)));
        if uses.len() == before && uses.values().all(|of| !of.is_empty()) {
            break;
        }
    }
    let names =
        |of: &BTreeSet<Module>| of.iter().map(|module| module.join("/")).collect::<Vec<_>>().join(", ");
    uses.iter().map(|(module, of)| format!("{} uses {}", module.join("/"), names(of))).collect()
}

#[test]
fn no_file_of_the_product_is_in_a_circle() {
    let folder = command::workspace().join("pxe-user");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let source = entry.unwrap().path().join("src");
        if !source.is_dir() {
            continue;
        }
        let all = modules(&source);
        seen += all.len();
        let found = circles(uses(&all));
        assert!(found.is_empty(), "{}:\n{}", source.display(), found.join("\n"));
    }
    assert!(seen > 250, "{seen}");
}

#[test]
fn a_circle_is_found_through_groups_and_what_is_exported_again() {
    let all = |texts: &[(&str, &str)]| -> BTreeMap<Module, String> {
        let module =
            |name: &str| name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        texts.iter().map(|(name, text)| (module(name), code(text))).collect()
    };
    let parent = ("", "mod a;\nmod b;\npub use b::{B, c::C as D};");
    let leaf = ("b/c", "pub struct C;");
    let fine = all(&[parent, ("a", "use crate::{B, D};\nuse super::b;"), ("b", "mod c;\nuse c::C;"), leaf]);
    assert_eq!(circles(uses(&fine)), [""; 0]);
    let bad =
        all(&[parent, ("a", "use super::{\n    B,\n    D,\n};"), ("b", "mod c;\nuse super::a::A;"), leaf]);
    assert_eq!(circles(uses(&bad)), ["a uses b", "b uses a"]);
}
