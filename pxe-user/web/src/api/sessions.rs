//! The sessions of browsers that have shown the token. A session is a new random text at each login: a cookie that
//! leaks is useless after the session has ended, and reveals nothing of the token.

use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq as _};
use tokio::time::Instant;

/// Sessions that exist at the same time; one more ends the oldest.
const SESSIONS_MAX: usize = 64;
/// A session ends this long after its login, used or not.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The sessions, in memory only: they end with the process. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<VecDeque<Session>>>);

struct Session {
    /// Digest of the session's text. Digests are compared, so the duration of a comparison tells nothing of the text.
    digest: [u8; 32],
    end: Instant,
}

impl Sessions {
    /// Begins a session from 32 random bytes. Returns its text, for the cookie.
    pub(super) fn begin(&self, now: Instant, random: [u8; 32]) -> String {
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut sessions = self.lock();
        sessions.retain(|session| session.end > now);
        if sessions.len() >= SESSIONS_MAX {
            sessions.pop_front();
        }
        sessions.push_back(Session { digest: digest(&text), end: now + LIFETIME });
        text
    }

    /// Whether this is the text of a session that has not ended.
    pub(super) fn has(&self, now: Instant, text: &str) -> bool {
        let asked = digest(text);
        let is_it =
            |session: &Session| session.digest.ct_eq(&asked) & Choice::from(u8::from(session.end > now));
        self.lock().iter().fold(Choice::from(0), |found, session| found | is_it(session)).into()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Session>> {
        // No code here leaves the list half changed, so a poisoned lock is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_in_number_and_time() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let begin = |n: usize| sessions.begin(now, [u8::try_from(n).unwrap(); 32]);
        let texts: Vec<_> = (0..=SESSIONS_MAX).map(begin).collect();
        let alive = |now| texts.iter().filter(|text| sessions.has(now, text)).count();
        assert!(!sessions.has(now, &texts[0]), "the oldest has given way");
        assert_eq!((alive(now), alive(now + LIFETIME)), (SESSIONS_MAX, 0));
        assert!(!sessions.has(now, "") && !sessions.has(now, &texts[1][1..]));
    }
}
