//! [`PostgresError`]: why the database does not take what it is sent, with the remedy.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::url::sentence;

/// Why nothing is written. The text names the remedy, and never a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresError {
    /// No server answers.
    #[error(
        "cannot reach the database {at} ({reason}): check that PostgreSQL runs there, and that no firewall is between"
    )]
    Unreachable {
        /// The URL.
        at: String,
        /// The system's reason.
        reason: String,
    },
    /// An answer took too long.
    #[error("the database {at} does not answer within {} s: check its load, its disk and the network", .after.as_secs())]
    Slow {
        /// The URL.
        at: String,
        /// The time limit.
        after: Duration,
    },
    /// The user or password is wrong.
    #[error(
        "the database rejects the user ({0}): check the user in the URL, the password file, and pg_hba.conf"
    )]
    Rejected(String),
    /// The server's certificate is not accepted, or it has none.
    #[error(
        "no TLS with the database ({0}): name the authority of its certificate as `ca_file`, and the host in the URL as the \
         certificate does"
    )]
    Certificate(String),
    /// The database does not exist.
    #[error("{0}: create it (`createdb`), or correct the URL")]
    NoDatabase(String),
    /// The user lacks a permission.
    #[error("the database denies a permission ({0}): make the user of the URL the owner of the database")]
    Denied(String),
    /// The schema is newer than this program.
    #[error("the ledger has schema {found}, and this pxed knows {known} at most: upgrade pxed")]
    Newer {
        /// The schema's version.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// No server takes writes.
    #[error("the database {0} is read-only: promote a standby, or name the primary in the URL")]
    ReadOnly(String),
    /// The database cannot hold all texts.
    #[error(
        "the database has the encoding {0}, which lacks most characters: create it with `createdb --encoding UTF8 --template template0`"
    )]
    Encoding(String),
    /// The server has no space, or no connections, left.
    #[error("the database is full ({0}): free some space there, or raise its limit")]
    Full(String),
    /// Another process writes under this responder's name.
    #[error(
        "the responder name `{name}` is in use by another pxed, on {host}: give this one another name (`responder` in [ledger]). \
         If that pxed was killed just now, its name is free within 9 s"
    )]
    NameTaken {
        /// The responder's name.
        name: String,
        /// The other process's host.
        host: String,
    },
    /// The database rejects the values of a row.
    #[error("the database rejects a row: {0}")]
    Row(String),
    /// Any other error, such as a connection that ended.
    #[error("the database fails ({0})")]
    Other(String),
}

impl PostgresError {
    /// The meaning of an error. `at` is the URL.
    pub(super) fn of(at: &str, error: &tokio_postgres::Error) -> Self {
        let text = sentence(error);
        let Some(code) = error.code() else { return Self::without_code(at, text) };
        let text = error.as_db_error().map_or(text, |error| error.message().to_owned());
        match code.code() {
            _ if *code == SqlState::INVALID_CATALOG_NAME => Self::NoDatabase(text),
            _ if *code == SqlState::INSUFFICIENT_PRIVILEGE => Self::Denied(text),
            _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly(at.to_owned()),
            _ if *code == SqlState::QUERY_CANCELED => {
                Self::Other(format!("{text}; check its load and its locks"))
            }
            code if code.starts_with("28") => Self::Rejected(text),
            code if code.starts_with("53") => Self::Full(text),
            // Values that the database cannot take: data exceptions, and violated constraints.
            code if code.starts_with("22") || code.starts_with("23") => Self::Row(text),
            _ => Self::Other(text),
        }
    }

    fn without_code(at: &str, text: String) -> Self {
        if text.contains("does not allow writes") {
            Self::ReadOnly(at.to_owned())
        } else if text.contains("password missing") {
            Self::Rejected("it requires a password, and none is given".into())
        } else if text.contains("TLS") || text.contains("certificate") {
            Self::Certificate(text)
        } else if text.starts_with("error connecting") {
            let reason = text.trim_start_matches("error connecting to server: ").to_owned();
            Self::Unreachable { at: at.to_owned(), reason }
        } else {
            Self::Other(text)
        }
    }
}
