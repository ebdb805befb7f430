//! Models of state that threads share by the project's own means. Loom runs each model in every order of
//! events that C11's memory model allows, with up to two preemptions at places where no thread waits.
//!
//! The files under test are the library's own, compiled here with loom's atomics (`crate::sync`). Not
//! modelled is what has no logic of the project's own: queues (crossbeam), pointers that are replaced
//! (arc-swap), channels (tokio), and counters and flags that nothing else depends on (`counters`,
//! `worker::offload::OffloadTrust`).

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

/// Replaces the library's module of the same name.
mod sync {
    pub(crate) use loom::sync::{Arc, atomic};
}

mod tftp {
    pub(crate) mod receive_session {
        pub(crate) use pxe_proto::tftp::receive_session::BlockAccepted;
    }
}

/// Runs a model with two preemptions. These find most faults that can be found at all, says loom's
/// documentation, and take seconds; three preemptions take a minute.
fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}
