//! The sessions of browsers that have shown the token. A session is random and new at each login, so who finds one cannot
//! use it once it has ended, and learns nothing of the token.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::{Choice, ConstantTimeEq as _};
use tokio::time::Instant;

use super::access::digest;

/// Sessions at a time; one more ends the oldest.
const SESSIONS_MAX: usize = 64;
/// How long a session lasts.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The sessions: they end with the process. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<VecDeque<Session>>>);

struct Session {
    /// Of its text. Digests are compared, so comparing tells nothing.
    digest: [u8; 32],
    end: Instant,
}

impl Sessions {
    /// Begins a session with 32 random bytes; its text, for the cookie.
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
        // A panic elsewhere leaves nothing half done here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
