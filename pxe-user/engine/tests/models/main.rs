//! Models of what threads share by means of our own: loom runs each of them in every order of events that C11's memory
//! model allows, up to two preemptions at places where no thread waits.
//!
//! The files under test are those of the library, compiled here with loom's atomics (`crate::sync`). What has no logic of
//! its own is not modelled: queues (crossbeam), pointers that are replaced (arc-swap), channels (tokio), counters and
//! flags that nothing else depends on (`counters`, `worker::offload::OffloadTrust`).

mod event_fd;
#[path = "../../../nic/src/offload/slot.rs"]
#[expect(unreachable_pub, reason = "it is public in the library")]
mod slot;
#[path = "../../src/responder/upload_limiter.rs"]
#[expect(unreachable_pub, reason = "it is public in the library")]
mod upload_limiter;
#[path = "../../src/worker/waker.rs"]
#[expect(unreachable_pub, reason = "it is public in the library")]
mod waker;

mod progress;
mod uploads;
mod waking;

/// In place of the library's module of this name.
mod sync {
    pub(crate) use loom::sync::{Arc, atomic};
}

mod tftp {
    pub(crate) mod receive_session {
        pub(crate) use pxe_proto::tftp::receive_session::BlockAccepted;
    }
}

/// Two preemptions find most faults that can be found at all (loom's documentation), in seconds; three take a minute.
fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}
