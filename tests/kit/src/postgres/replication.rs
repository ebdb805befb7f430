//! Streaming replication between two servers: a copy of a running server that follows it, and its promotion.
//!
//! The standby reads the primary's Unix socket. A primary confirms a transaction when the standby has it, after
//! [`Postgres::confirm_by`].

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Postgres, USER};
use crate::{clock, command};

/// The longest that a standby may take to follow its primary.
const FOLLOWS_MAX: Duration = Duration::from_secs(60);

impl Postgres {
    /// Makes and starts a standby of a running server, with lines of `postgresql.conf`. The primary knows it by this name.
    ///
    /// # Errors
    /// If it does not start.
    pub fn standby_of(primary: &Self, name: &str, settings: &str) -> Result<Self> {
        let server = Self::empty()?;
        server.follow(primary, name, settings)?;
        Ok(server)
    }

    /// Replaces the data of this server, which must not run, by a copy of a running server, and starts as its standby.
    ///
    /// # Errors
    /// If it does not start.
    pub fn follow(&self, primary: &Self, name: &str, settings: &str) -> Result<()> {
        let data = self.data();
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let source = format!(
            "host={} port={} user={USER} application_name={name}",
            primary.folder.display(),
            primary.port
        );
        let mut copy = self.command("pg_basebackup");
        copy.args(["--checkpoint", "fast", "--no-sync", "--write-recovery-conf", "--dbname", &source]);
        command::output(copy.arg("--pgdata").arg(&data))?;
        self.configure(&format!("wal_retrieve_retry_interval = 200ms\n{settings}"))?;
        self.launch()
    }

    /// Confirms transactions only when the standby of this name has them, and waits until it follows.
    ///
    /// # Errors
    /// If it does not follow.
    pub fn confirm_by(&self, standby: &str) -> Result<()> {
        self.sql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'"))?;
        self.sql("postgres", "SELECT pg_reload_conf()")?;
        let follows =
            format!("SELECT sync_state FROM pg_stat_replication WHERE application_name = '{standby}'");
        clock::wait_until(
            "the standby follows",
            FOLLOWS_MAX,
            || Ok(self.sql("postgres", &follows)? == "sync"),
        )
    }

    /// Makes this standby a primary that confirms transactions alone. Its own primary must be gone.
    ///
    /// # Errors
    /// If it is no standby, or stays one.
    pub fn promote(&self) -> Result<()> {
        ensure!(self.is_standby()?, "PostgreSQL is no standby, so it cannot be promoted");
        command::output(self.command("pg_ctl").args(["promote", "--wait", "--pgdata"]).arg(self.data()))?;
        ensure!(!self.is_standby()?, "PostgreSQL is still a standby");
        self.sql("postgres", "ALTER SYSTEM RESET synchronous_standby_names")?;
        self.sql("postgres", "SELECT pg_reload_conf()").map(drop)
    }

    /// The number of the server's history: each promotion begins another one.
    ///
    /// # Errors
    /// If the server takes no writes.
    pub fn timeline(&self) -> Result<u32> {
        // Of the file that is written now: the control file has the old number until the next checkpoint.
        let name = self.sql("postgres", "SELECT pg_walfile_name(pg_current_wal_lsn())")?;
        Ok(u32::from_str_radix(name.get(..8).unwrap_or_default(), 16)?)
    }

    fn is_standby(&self) -> Result<bool> {
        Ok(self.sql("postgres", "SELECT pg_is_in_recovery()")? == "t")
    }
}
