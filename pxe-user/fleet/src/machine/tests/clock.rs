//! The time of day is set while machines boot and test.

use super::*;

impl Life {
    fn clock_set(&mut self, by: i64) {
        self.set += by;
        self.machine.clock_set(by);
    }
}

/// How long something took is not what the time of day says: it may be set meanwhile, by a day back or a year ahead.
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
