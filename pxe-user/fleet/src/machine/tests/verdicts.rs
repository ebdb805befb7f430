//! Tests of console lines and reports of a memory test.

use super::*;

#[test]
fn a_console_tells_the_whole_test() {
    let mut life = Life::new();
    life.booted()
        .says("ev=start version=9 arch=x64")
        .says("ev=info sys_serial=\"SN9\"")
        .says("ev=info mem_mb=1024");
    life.says("ev=spd slot=1 size_mb=1024 type=DDR5 freq=5600 ecc=0 mfg=\"Corsair\" sku=\"CMK\"");
    life.says("ev=tick pass=0 pass_pct=40 test=1 test_pct=2 errors=0").is(State::Running);
    assert_eq!(life.machine.shown.serial.as_deref(), Some("SN9"));
    let dimm = &life.machine.shown.dimms[0];
    assert_eq!((dimm.slot.as_str(), dimm.size, dimm.speed), ("SPD 1", 1 << 30, Some(5600)));
    let verdict = life.machine.shown.verdict.clone().unwrap();
    assert_eq!(
        (verdict.memory, verdict.percent, verdict.outcome),
        (Some(1 << 30), Some(40), Memory::Testing)
    );
    life.wait(59).is(State::Running).wait(1).is(State::Silent).because("no tick for 60 s");
    life.says("ev=tick pass=0 pass_pct=41 errors=0").is(State::Running);
    life.says("ev=pass_end pass=0 errors=0 status=pass")
        .says("ev=done passes=1 status=pass")
        .is(State::Passed);
    // After `done`, memtest86+ restarts the machine.
    life.wait(20).pxe("x").is(State::Offered);
}

#[test]
fn an_error_is_a_failure_at_once_and_stays_one_until_a_new_test_runs() {
    let mut life = Life::new();
    life.booted().says("ev=start version=9");
    for _ in 0..3 {
        life.says("ev=error type=data test=3 cpu=2 addr=0x12345678 expect=0xff actual=0xfe");
    }
    life.is(State::Failed).because("memory error at 0x12345678, 3 in all");
    let verdict = life.machine.shown.verdict.clone().unwrap();
    assert_eq!((verdict.outcome, verdict.errors, verdict.first_errors.len()), (Memory::Fail, 3, 1));
    assert_eq!((verdict.first_errors[0].count, verdict.first_errors[0].cpu), (3, Some(2)));
    for n in 0..100 {
        life.says(&format!("ev=error type=addr test=3 cpu=2 addr=0x{n:x}000 expect=0x1 actual=0x0"));
    }
    life.says("ev=tick pass=1 errors=5000").wait(300).is(State::Failed);
    let verdict = life.machine.shown.verdict.clone().unwrap();
    assert_eq!((verdict.errors, verdict.first_errors.len()), (5000, 32));
    life.says("ev=done passes=1 status=fail").is(State::Failed);
    life.told(Client::Pxe, OfferKind::Local, "").is(State::Failed).because("0x12345678");
    life.wait(200).booted().is(State::Failed).says("ev=tick pass=0 errors=0").is(State::Running);
    assert_eq!(life.machine.shown.verdict.as_ref().map(|verdict| verdict.errors), Some(0), "a new test");
}

#[test]
fn reports_that_come_twice_or_not_at_all_change_no_verdict() {
    let mut life = Life::new();
    let bad = |report: &mut Report| {
        let address = Some("0xdead000\u{1b}[2J".into());
        report.errors = vec![ReportedError { address, ..ReportedError::default() }];
    };
    life.booted()
        .report(Stage::Start, |_| ())
        .report(Stage::Error, bad)
        .is(State::Failed)
        .because("0xdead000[2J");
    life.report(Stage::Done, |report| report.pass = Some(true)).is(State::Failed);
    life.report(Stage::Done, |report| report.pass = Some(true)).is(State::Failed).because("0xdead000");
    let mut life = Life::new();
    life.booted()
        .report(Stage::Start, |_| ())
        .report(Stage::Done, |_| ())
        .is(State::Failed)
        .because("without saying");
    let mut life = Life::new();
    life.report(Stage::Broken, |report| report.message = Some("no memory".into()))
        .is(State::Failed)
        .because("no memory");
    let mut life = Life::new();
    life.report(Stage::Progress, |report| report.uncorrected = Some(2))
        .is(State::Failed)
        .because("could not correct 2");
}

#[test]
fn nothing_within_the_same_boot_wipes_bad_memory() {
    let mut life = Life::new();
    life.booted().says("ev=start version=9").says("ev=error type=data addr=0x1000").is(State::Failed);
    life.wait(100).says("ev=start version=9").is(State::Failed);
    life.report(Stage::Start, |_| ()).report(Stage::Done, |report| report.pass = Some(true));
    life.is(State::Failed).fetched("memtest", Role::Payload).is(State::Failed).because("0x1000");
    assert_eq!(life.machine.shown.verdict.as_ref().map(|verdict| verdict.outcome), Some(Memory::Fail));
}

#[test]
fn a_tests_own_count_wins_and_an_error_after_the_end_is_bad_memory() {
    let mut life = Life::new();
    let bad = |report: &mut Report| {
        report.errors = vec![ReportedError { address: Some("0x1".into()), ..ReportedError::default() }];
        report.error_count = Some(1);
    };
    life.booted().report(Stage::Start, |_| ());
    life.report(Stage::Done, |report| report.pass = Some(true)).is(State::Passed);
    for _ in 0..3 {
        life.report(Stage::Error, bad).is(State::Failed).because("0x1");
    }
    let verdict = life.machine.shown.verdict.as_ref().unwrap();
    assert_eq!((verdict.outcome, verdict.errors, verdict.first_errors[0].count), (Memory::Fail, 1, 1));
}
