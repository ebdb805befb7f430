//! Tests of the ledger. `engines` runs the same tests with SQLite and with a real PostgreSQL, which is started from the
//! distribution's package. `trouble` has what only a database over a network can get wrong.

mod engines;
mod members;
mod news;
mod support;
mod trouble;
