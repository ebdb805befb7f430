//! Waits for the kernel to free what a process held that has just ended.

use std::time::Duration;

/// How long the kernel may take to free what a process held, after its end.
const PATIENCE: Duration = Duration::from_millis(500);
/// Repeats an attempt while `is_busy` tells that another process still holds something, with a pause between two attempts.
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
