//! The shared ledger of the settings, ready to connect to. It is opened before the confinement: afterwards pxed can neither
//! read the password nor resolve a name.

use crate::config::{LedgerSettings, Settings};
use pxe_fleet::thread::SharedLedger;
use pxe_ledger::postgres::Target;

/// The name of systemd's credential with the password (`LoadCredential=ledger-password:FILE`).
const CREDENTIAL: &str = "ledger-password";

/// Opens the shared ledger of the settings, if they have one. A mistake on this host is a part of the result, because pxed serves
/// all the same.
#[must_use]
pub fn shared_ledger(settings: &Settings) -> Option<SharedLedger> {
    let LedgerSettings { url, password_file, ca_file, responder, spool } = settings.ledger.as_ref()?;
    let password = password_file.clone().or_else(|| pxe_outbound::credential(CREDENTIAL));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(SharedLedger {
        target: Target::open(url, password.as_deref(), ca_file.as_deref()),
        responder: responder.clone().unwrap_or_else(|| host.clone()),
        host,
        spool_max: *spool,
    })
}
