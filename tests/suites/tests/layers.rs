//! The layers: each crate names those below it and no other, and the lower ones stay free of what only the upper ones need.

use std::collections::BTreeSet;

use pxe_kit::command;

/// Each crate of the product, from the bottom up, and those of ours that it may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("pxe-common", &[]),
    ("pxe-proto", &["pxe-common"]),
    ("pxe-nic", &["pxe-common"]),
    ("pxe-content", &["pxe-proto"]),
    ("pxe-fleet", &["pxe-proto", "pxe-content"]),
    ("pxe-engine", &["pxe-common", "pxe-proto", "pxe-nic", "pxe-content", "pxe-fleet"]),
    ("pxe-web", &["pxe-proto", "pxe-nic", "pxe-content", "pxe-fleet", "pxe-engine"]),
    ("pxed", &["pxe-common", "pxe-proto", "pxe-nic", "pxe-content", "pxe-fleet", "pxe-engine", "pxe-web"]),
];

/// What a crate must not depend on, however many crates lie between.
const FREE: &[(&str, &[&str])] = &[
    // Pure: no I/O, no clock, no async, no log.
    ("pxe-proto", &["aya", "axum", "libc", "rusqlite", "rustix", "tokio", "tracing"]),
    ("pxe-nic", &["axum", "rusqlite", "tokio"]),
    ("pxe-content", &["aya", "axum", "rusqlite", "tokio"]),
    ("pxe-fleet", &["aya", "axum"]),
    ("pxe-engine", &["axum", "clap", "hyper"]),
    ("pxe-web", &["clap", "toml"]),
];

/// All that a crate depends on, without what only its tests need.
fn dependencies(package: &str, depth: &[&str]) -> BTreeSet<String> {
    let mut tree = command::cargo();
    tree.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package"]);
    let tree = command::output(tree.arg(package).args(depth)).unwrap();
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != package && !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn each_layer_names_only_those_below_it() {
    let ours: Vec<&str> = LAYERS.iter().map(|(package, _)| *package).collect();
    for (package, allowed) in LAYERS {
        let named = dependencies(package, &["--depth", "1"]);
        let of_ours: Vec<&String> = named.iter().filter(|name| ours.contains(&name.as_str())).collect();
        let wrong: Vec<_> = of_ours.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{package} must not name {wrong:?}: it may name {allowed:?}");
        let position = |name: &str| ours.iter().position(|other| *other == name).unwrap();
        assert!(allowed.iter().all(|name| position(name) < position(package)), "{package}: a layer above it");
    }
}

#[test]
fn lower_layers_build_without_what_the_upper_ones_need() {
    for (package, forbidden) in FREE {
        let all = dependencies(package, &[]);
        let found: Vec<_> = forbidden.iter().filter(|name| all.contains(**name)).collect();
        assert!(found.is_empty(), "{package} must build without {found:?}");
    }
}

#[test]
fn every_crate_of_the_product_has_a_layer() {
    let folder = command::workspace().join("pxe-user");
    let crates = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for manifest in crates.map(|path| path.join("Cargo.toml")).filter(|path| path.exists()) {
        let text = std::fs::read_to_string(&manifest).unwrap();
        let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).unwrap();
        assert!(LAYERS.iter().any(|(package, _)| *package == name), "{name} has no layer: give it one");
    }
}
