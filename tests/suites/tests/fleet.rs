//! Five machines with five rules, and the board with their states. `pxe_lab::fleet` describes them; `cargo xtask fleet`
//! runs the same and prints the results.

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
    // The picture of an empty page would have a few kilobytes only.
    assert!(std::fs::metadata(&shown.picture).unwrap().len() > 20_000);
}
