//! What holds for both engines.

use pxe_ledger::rows::{LoadedMachine, Rows};

use crate::support::{Engine, Shared, Sqlite, batch, boot, error, machine, step};

/// Runs the functions of this file as tests of both engines.
macro_rules! both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { super::$name::<super::Sqlite>(); })+
        }
        mod postgres {
            $(#[test] fn $name() { super::$name::<super::Shared>(); })+
        }
    };
}

both!(
    what_is_written_is_read_after_a_start,
    a_later_row_replaces_an_earlier_one,
    a_batch_that_comes_again_changes_nothing,
    a_forgotten_machine_takes_its_boots_along,
    a_history_is_newest_first,
    steps_are_listed_after_a_number,
    old_rows_are_deleted_and_machines_stay,
    a_schema_of_a_newer_program_is_refused,
    texts_from_machines_and_configurations_are_kept,
);

fn loaded(engine: &mut impl Engine) -> Vec<(String, String, Vec<String>)> {
    let machines = engine.reopen().machines.into_iter();
    machines.map(|LoadedMachine { row, boots }| (row.mac, row.json, boots)).collect()
}

fn first() -> Rows {
    Rows {
        machines: vec![machine("a", 1), machine("b", 1)],
        boots: vec![boot("a", 10, 1), boot("a", 20, 2)],
        steps: vec![step("a", 5), step("b", 6), step("a", 7)],
        errors: vec![error("a", "0x10")],
        ..Rows::default()
    }
}

fn what_is_written_is_read_after_a_start<E: Engine>() {
    let mut engine = E::empty();
    engine.write(&batch(1, first()));
    let start = engine.reopen();
    assert_eq!((start.steps, start.last_step), (vec!["5".into(), "6".into(), "7".into()], 7));
    let all = [("a", "1", vec!["2".into(), "1".into()]), ("b", "1", vec![])];
    assert_eq!(loaded(&mut engine), all.map(|(mac, json, boots)| (mac.into(), json.into(), boots)));
}

fn a_later_row_replaces_an_earlier_one<E: Engine>() {
    let mut engine = E::empty();
    engine.write(&batch(1, first()));
    // The boot of the time 10 is there twice, as in a batch with all machines. The later row wins.
    let boots = vec![boot("a", 10, 7), boot("a", 10, 8)];
    engine.write(&batch(2, Rows { machines: vec![machine("a", 2)], boots, ..Rows::default() }));
    let all = loaded(&mut engine);
    assert_eq!(all[0], ("a".into(), "2".into(), vec!["2".into(), "8".into()]));
    assert_eq!(all.len(), 2);
}

fn a_batch_that_comes_again_changes_nothing<E: Engine>() {
    let mut engine = E::empty();
    engine.write(&batch(1, first()));
    let before = engine.reopen();
    engine.write(&batch(1, first()));
    let after = engine.reopen();
    assert_eq!((after.machines, after.steps), (before.machines, before.steps));
    assert_eq!(engine.history("a").boots, ["2", "1"]);
}

fn a_forgotten_machine_takes_its_boots_along<E: Engine>() {
    let mut engine = E::empty();
    engine.write(&batch(1, first()));
    engine.write(&batch(2, Rows { forgotten: vec!["a".into()], ..Rows::default() }));
    assert_eq!(loaded(&mut engine), [("b".into(), "1".into(), vec![])]);
    assert_eq!(engine.history("a").boots, [""; 0]);
    assert_eq!(engine.history("a").steps, ["7", "5"], "what happened stays");
}

fn a_history_is_newest_first<E: Engine>() {
    let mut engine = E::empty();
    let boots = (0..300).map(|at| boot("a", at, at as u32)).collect();
    let steps = (1..600).map(|id| step("a", id)).collect();
    engine.write(&batch(1, Rows { boots, steps, ..Rows::default() }));
    let history = engine.history("a");
    assert_eq!((history.boots.len(), history.boots[0].as_str()), (256, "299"));
    assert_eq!((history.steps.len(), history.steps[0].as_str()), (500, "599"));
    assert_eq!(engine.history("nobody"), Default::default());
}

fn steps_are_listed_after_a_number<E: Engine>() {
    let mut engine = E::empty();
    engine.write(&batch(1, first()));
    assert_eq!(engine.steps(5, 9), ["6", "7"]);
    assert_eq!(engine.steps(0, 2), ["5", "6"]);
    assert_eq!(engine.steps(7, 2), [""; 0]);
}

fn old_rows_are_deleted_and_machines_stay<E: Engine>() {
    let mut engine = E::empty();
    engine.pass(1);
    engine.write(&batch(1, first()));
    engine.pass(20);
    engine.write(&batch(2, Rows { steps: vec![step("a", 8)], ..Rows::default() }));
    engine.pass(9);
    assert_eq!(engine.steps(0, 9), ["5", "6", "7", "8"], "not yet");
    engine.pass(2);
    assert_eq!(engine.steps(0, 9), ["8"]);
    assert_eq!(engine.history("a").boots, [""; 0]);
    assert_eq!(loaded(&mut engine).len(), 2);
}

fn a_schema_of_a_newer_program_is_refused<E: Engine>() {
    let error = E::empty().with_a_newer_schema();
    assert!(error.contains("newer pxed") || error.contains("upgrade pxed"), "{error}");
}

/// PostgreSQL's texts have no NUL, its JSON has no raw control characters.
fn texts_from_machines_and_configurations_are_kept<E: Engine>() {
    let mut engine = E::empty();
    let json = r#""\u0000 \" ' ä €""#;
    let mut row = machine("a", 1);
    row.json = json.into();
    engine.write(&batch(
        1,
        Rows { machines: vec![row], errors: vec![error("a", "0\u{0}'")], ..Rows::default() },
    ));
    assert_eq!(loaded(&mut engine)[0].1, json);
}
