//! Waits a moment for what a process held that has just ended.

use std::time::Duration;

/// How long what another process held may take to be free after its end: the kernel takes some of it down later.
const PATIENCE: Duration = Duration::from_millis(500);
/// Tries again for a moment, with a `pause` between two attempts, while `is_busy`.
pub(super) fn patiently<T, E>(
    pause: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
    is_busy: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        match attempt() {
            Err(error) if is_busy(&error) => std::thread::sleep(pause),
            result => return result,
        }
    }
    attempt()
}
