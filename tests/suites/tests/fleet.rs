//! A fleet in the lab: machines booted by rule, over PXE and HTTP, one that boots its own disk the
//! second time, one with bad memory; the board in a browser; the same facts by status, API and metrics. `cargo xtask fleet`
//! is the same for people.

use pxe_kit::daemon;
use pxe_lab::fleet;

#[test]
fn five_machines_by_five_rules_and_what_the_board_says_of_them() {
    let out = pxe_kit::command::target_dir().join("fleet");
    let shown = fleet::show(&daemon::program(), &out, |line| println!("{line}")).unwrap();
    assert!(!shown.flips.is_empty());
    let states = shown.facts.totals();
    let expected =
        [("failed", 1), ("local", 1), ("running", 3)].map(|(state, count)| (state.to_owned(), count));
    assert_eq!(states.into_iter().collect::<Vec<_>>(), expected);
    // A page that has not drawn anything compresses to a few kilobytes.
    assert!(std::fs::metadata(&shown.picture).unwrap().len() > 20_000);
}
