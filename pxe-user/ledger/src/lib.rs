//! The ledger: what the fleet keeps of its machines over a restart. It stores rows of texts and numbers, and knows
//! neither machines nor JSON: the fleet makes the rows, and reads them.
//!
//! | module | contents |
//! |---|---|
//! | [`rows`] | the rows of one transaction, and what a start loads |
//! | [`sqlite`] | the ledger in a directory of this host, and the spool of what the database has not taken yet |
//! | [`postgres`] | the ledger in a database that several responders share |

pub mod postgres;
pub mod rows;
pub mod sqlite;

/// A random name for a spool or a process: 32 hexadecimal digits.
///
/// # Errors
/// If the system has no randomness.
pub fn random_name() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if read != bytes.len() {
        return Err(std::io::Error::other("the system returned too little randomness"));
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
