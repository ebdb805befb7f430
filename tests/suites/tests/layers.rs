//! The layers: each crate depends only on those below it, and lower crates stay free of the dependencies of upper ones.

use std::collections::BTreeSet;

use pxe_kit::command;
use serde_json::Value;

/// The crates of the product, from the bottom up, each with the workspace's crates that it may depend on.
const LAYERS: &[(&str, &[&str])] = &[
    ("pxe-common", &[]),
    ("pxe-proto", &["pxe-common"]),
    ("pxe-nic", &["pxe-common"]),
    ("pxe-content", &["pxe-proto"]),
    ("pxe-outbound", &[]),
    ("pxe-ledger", &["pxe-proto", "pxe-outbound"]),
    ("pxe-upstream", &["pxe-content", "pxe-outbound"]),
    ("pxe-fleet", &["pxe-proto", "pxe-content", "pxe-ledger"]),
    ("pxe-engine", &["pxe-common", "pxe-proto", "pxe-nic", "pxe-content", "pxe-fleet"]),
    ("pxe-web", &["pxe-proto", "pxe-nic", "pxe-content", "pxe-fleet", "pxe-engine"]),
    ("pxe-memtest", &[]),
    (
        "pxed",
        &[
            "pxe-memtest",
            "pxe-common",
            "pxe-proto",
            "pxe-nic",
            "pxe-content",
            "pxe-outbound",
            "pxe-ledger",
            "pxe-upstream",
            "pxe-fleet",
            "pxe-engine",
            "pxe-web",
        ],
    ),
];

/// The crates of tests and tools, in the same way.
const TOOLS: &[(&str, &[&str])] = &[
    ("pxe-kit", &[]),
    ("pxe-guests", &["pxe-kit", "pxe-memtest"]),
    ("pxe-lab", &["pxe-kit", "pxe-memtest", "pxe-guests"]),
    ("pxe-bench", &["pxe-kit"]),
    ("pxe-packaging", &["pxe-kit"]),
    ("pxe-search", &["pxe-kit"]),
    ("pxe-clients", &["pxe-proto"]),
    (
        "pxe-scale",
        &["pxe-proto", "pxe-content", "pxe-ledger", "pxe-fleet", "pxe-engine", "pxe-web", "pxe-kit"],
    ),
    ("pxe-load", &["pxe-common", "pxe-proto", "pxe-nic", "pxe-kit", "pxe-clients"]),
    (
        "pxe-properties",
        &["pxe-common", "pxe-proto", "pxe-nic", "pxe-content", "pxe-fleet", "pxe-engine", "pxed", "pxe-kit"],
    ),
    // The dependencies of the helpers and of the programs in guests. The tests themselves may use all crates but xtask.
    ("pxe-tests", &["pxe-nic", "pxe-kit", "pxe-guests", "pxe-lab"]),
    (
        "xtask",
        &["pxe-ebpf-builder", "pxe-kit", "pxe-guests", "pxe-lab", "pxe-bench", "pxe-packaging", "pxe-search"],
    ),
];
/// Crates without a layer: for the kernel, for building the kernel objects, and for libFuzzer.
const BESIDE: &[&str] = &["pxe-ebpf", "pxe-ebpf-builder", "pxe-fuzz"];
/// The maximum of xtask's lines. xtask is a command line; its work belongs to other crates.
const XTASK_LINES: usize = 2500;

/// Crates that a crate must not depend on, directly or indirectly.
const FREE: &[(&str, &[&str])] = &[
    // Pure: no I/O, no clock, no async, no log.
    ("pxe-proto", &["aya", "axum", "libc", "rusqlite", "rustix", "tokio", "tracing"]),
    ("pxe-nic", &["axum", "rusqlite", "tokio"]),
    ("pxe-content", &["aya", "axum", "rusqlite", "tokio"]),
    ("pxe-outbound", &["aya", "axum", "hyper", "rusqlite"]),
    ("pxe-ledger", &["aya", "axum"]),
    // TLS is that of the ledger: rustls with ring. The client that object_store can bring has another one.
    ("pxe-upstream", &["aya", "aws-lc-rs", "axum", "reqwest", "rusqlite"]),
    ("pxe-fleet", &["aya", "axum"]),
    ("pxe-engine", &["axum", "clap", "hyper"]),
    ("pxe-web", &["clap", "toml"]),
    ("pxe-clients", &["anyhow", "libc", "rustix", "serde_json"]),
    ("pxe-kit", &["aya", "rusqlite", "tokio"]),
    ("pxe-load", &["axum", "rusqlite", "tokio"]),
    ("pxe-tests", &["axum", "rusqlite"]),
    // The first `cargo xtask run` waits for the build of xtask.
    ("xtask", &["aya", "axum", "pxe-proto", "rusqlite", "tokio"]),
];

/// All dependencies of a crate, without those of its tests.
fn dependencies(package: &str, depth: &[&str]) -> BTreeSet<String> {
    let mut tree = command::cargo();
    tree.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package"]);
    let tree = command::output(tree.arg(package).args(depth)).unwrap();
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != package && !name.is_empty()).map(str::to_owned).collect()
}

/// All layers, from the bottom up.
fn layers() -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> {
    LAYERS.iter().chain(TOOLS)
}

/// The names of all crates of the workspace.
fn workspace() -> BTreeSet<String> {
    let mut cargo = command::cargo();
    let text = command::output(cargo.args(["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| package["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_layer_names_only_those_below_it() {
    let ours = workspace();
    let order: Vec<&str> = layers().map(|(package, _)| *package).collect();
    let position = |name: &str| order.iter().position(|other| *other == name);
    for (package, allowed) in layers() {
        let named = dependencies(package, &["--depth", "1"]);
        let of_ours = named.iter().filter(|name| ours.contains(*name));
        let wrong: Vec<_> = of_ours.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}, only on {allowed:?}");
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
fn every_crate_has_a_layer() {
    let mut without = workspace();
    without.retain(|name| !BESIDE.contains(&name.as_str()) && layers().all(|(package, _)| package != name));
    assert!(without.is_empty(), "{without:?} have no layer: give each of them one");
}

#[test]
fn the_tests_name_no_command() {
    let manifest = std::fs::read_to_string(command::workspace().join("tests/suites/Cargo.toml")).unwrap();
    assert!(!manifest.lines().any(|line| line.starts_with("xtask")), "the suites depend on xtask");
}

#[test]
fn xtask_is_thin() {
    let mut folders = vec![command::workspace().join("xtask")];
    let mut lines = 0;
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                lines += std::fs::read_to_string(path).unwrap().lines().count();
            }
        }
    }
    assert!((1000..XTASK_LINES).contains(&lines), "xtask has {lines} lines: move code to a crate");
}
