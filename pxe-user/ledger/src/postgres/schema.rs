//! The schema, and its migrations. All tables are in the schema `pxed`.

use tokio_postgres::Client;

use super::error::PostgresError;

/// The key of the advisory lock under which one process migrates: "pxed" in ASCII.
const LOCK: i64 = 0x7078_6564;

/// The migrations. The one with index n leads from version n to n + 1.
pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE responders (name TEXT PRIMARY KEY, instance TEXT NOT NULL, host TEXT NOT NULL, leased TIMESTAMPTZ NOT NULL,
        spool TEXT NOT NULL DEFAULT '', sequence BIGINT NOT NULL DEFAULT 0, clock BIGINT NOT NULL DEFAULT 0);
    CREATE TABLE clock (id INT PRIMARY KEY CHECK (id = 1), age BIGINT NOT NULL, wall TIMESTAMPTZ NOT NULL);
    INSERT INTO clock VALUES (1, 0, now());
    CREATE TABLE machines (mac TEXT PRIMARY KEY, json JSON NOT NULL, version BIGINT NOT NULL, responder TEXT NOT NULL,
        sequence BIGINT NOT NULL);
    CREATE INDEX machines_written ON machines (responder, sequence);
    CREATE TABLE boots (mac TEXT NOT NULL, at BIGINT NOT NULL, responder TEXT NOT NULL, json JSON NOT NULL, age BIGINT NOT NULL,
        sequence BIGINT NOT NULL, PRIMARY KEY (mac, at, responder));
    CREATE INDEX boots_age ON boots (age);
    CREATE INDEX boots_written ON boots (responder, sequence);
    CREATE TABLE steps (responder TEXT NOT NULL, id BIGINT NOT NULL, at BIGINT NOT NULL, mac TEXT NOT NULL, json JSON NOT NULL,
        age BIGINT NOT NULL, PRIMARY KEY (responder, id));
    CREATE INDEX steps_mac ON steps (mac, at);
    CREATE INDEX steps_age ON steps (age);
    CREATE TABLE errors (mac TEXT NOT NULL, test BIGINT NOT NULL, address TEXT NOT NULL, responder TEXT NOT NULL,
        at BIGINT NOT NULL, json JSON NOT NULL, age BIGINT NOT NULL, PRIMARY KEY (mac, test, address, responder));
    CREATE INDEX errors_age ON errors (age);
    CREATE TABLE epochs (mac TEXT PRIMARY KEY, epoch BIGINT NOT NULL);
    CREATE TABLE counted (mac TEXT NOT NULL, rule TEXT NOT NULL, boot TEXT NOT NULL, epoch BIGINT NOT NULL, count BIGINT NOT NULL,
        responder TEXT NOT NULL, sequence BIGINT NOT NULL, age BIGINT NOT NULL, PRIMARY KEY (mac, rule, boot));
    CREATE INDEX counted_age ON counted (age);
    CREATE INDEX counted_written ON counted (responder, sequence);
", super::members::MIGRATION, "
    ALTER TABLE responders ADD COLUMN pxed TEXT NOT NULL DEFAULT '', ADD COLUMN segment TEXT, ADD COLUMN rules TEXT,
        ADD COLUMN waiting BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE epochs ADD COLUMN responder TEXT NOT NULL DEFAULT '', ADD COLUMN sequence BIGINT NOT NULL DEFAULT 0;
    CREATE INDEX epochs_written ON epochs (responder, sequence);
"];

/// The newest version that this program knows.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// Migrates an older schema. One process does so at a time; a schema that is current takes no lock.
pub(super) async fn migrate(client: &mut Client, at: &str) -> Result<(), PostgresError> {
    let failed = |error: tokio_postgres::Error| PostgresError::of(at, &error);
    if version(client).await.map_err(failed)? == VERSION {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    let found = version(&transaction).await.map_err(failed)?;
    let Some(missing) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)) else {
        return Err(PostgresError::Newer { found, known: VERSION });
    };
    let prepare =
        "CREATE SCHEMA IF NOT EXISTS pxed; CREATE TABLE IF NOT EXISTS pxed.version (version INT NOT NULL)";
    transaction.batch_execute(prepare).await.map_err(failed)?;
    for migration in missing {
        transaction.batch_execute(migration).await.map_err(failed)?;
    }
    let noted = format!("DELETE FROM pxed.version; INSERT INTO pxed.version VALUES ({VERSION})");
    transaction.batch_execute(&noted).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// The schema's version. 0 if there is none.
pub(super) async fn version(
    client: &impl tokio_postgres::GenericClient,
) -> Result<i32, tokio_postgres::Error> {
    // Not by `to_regclass`: after the wait for the advisory lock, its cache may not know yet what the last holder has made.
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace \
               WHERE nspname = 'pxed' AND relname = 'version')";
    let there = client.query_one(sql, &[]).await?;
    if !there.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = client.query_opt("SELECT version FROM pxed.version", &[]).await?;
    Ok(row.map_or(0, |row| row.get(0)))
}
