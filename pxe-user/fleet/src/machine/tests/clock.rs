//! Tests of a wall clock that is set while machines boot and test.

use super::*;

impl Life {
    fn clock_set(&mut self, by: i64) {
        self.set += by;
        self.machine.clock_set(by);
    }
}

/// Durations stay right when the wall clock is set, here a day back or a year ahead.
#[test]
fn a_clock_that_is_set_makes_no_machine_wait_and_none_give_up() {
    for by in [-86_400_000, 31_536_000_000] {
        let mut life = Life::new();
        life.pxe("pxelinux.0").wait(30);
        life.clock_set(by);
        life.wait(29).is(State::Offered).wait(1).is(State::Failed).because("requested nothing");
        let mut life = Life::new();
        life.booted().says("ev=start version=9").wait(30);
        life.clock_set(by);
        life.wait(29).is(State::Running).wait(1).is(State::Silent);
        life.says("ev=tick pass=0 test=1 pass_pct=5").is(State::Running);
    }
}
