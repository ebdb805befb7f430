//! Models of what threads share by means of our own: loom runs each of them in every order of events that C11's memory
//! model allows, up to two preemptions at places where no thread waits.
//!
//! The files under test are those of the library, compiled here with loom's atomics (`crate::sync`). What has no logic of
//! its own is not modelled: queues (crossbeam), pointers that are replaced (arc-swap), channels (tokio), counters and
//! flags that nothing else depends on (`tally`, `worker::offload::Trust`).

mod bell;
#[path = "../../src/worker/door.rs"]
#[expect(unreachable_pub, reason = "it is public in the library")]
mod door;
#[path = "../../src/responder/places.rs"]
#[expect(unreachable_pub, reason = "it is public in the library")]
mod places;
#[path = "../../../nic/src/offload/slot.rs"]
#[expect(unreachable_pub, reason = "it is public in the library")]
mod slot;

mod progress;
mod ringing;
mod uploads;

/// In place of the library's module of this name.
mod sync {
    pub(crate) use loom::sync::{Arc, atomic};
}

mod tftp {
    pub(crate) mod reception {
        pub(crate) use pxe_proto::tftp::reception::Taken;
    }
}

/// Two preemptions find most faults that can be found at all (loom's documentation), in seconds; three take a minute.
fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}
