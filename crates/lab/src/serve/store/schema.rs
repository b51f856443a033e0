//! Opens a store file, makes its tables, refuses what a newer program wrote.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::Error;

/// Version of the tables, kept in SQLite's `user_version`.
const VERSION: i64 = 2;

const TABLES: &str = "
CREATE TABLE documents (
    document INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    time INTEGER NOT NULL,
    service TEXT NOT NULL,
    level TEXT NOT NULL,
    attribution TEXT NOT NULL,
    user TEXT,
    trace TEXT,
    json TEXT NOT NULL
) STRICT;
CREATE INDEX documents_by_time ON documents (time, service, level, attribution, user);
CREATE INDEX documents_by_trace ON documents (trace, time) WHERE trace IS NOT NULL;
CREATE TABLE receipts (
    receipt INTEGER PRIMARY KEY,
    lane TEXT NOT NULL,
    home TEXT NOT NULL,
    id TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (document),
    stored_at INTEGER NOT NULL,
    arrivals INTEGER NOT NULL,
    conflicts INTEGER NOT NULL,
    content INTEGER NOT NULL,
    json TEXT,
    UNIQUE (id, lane, home)
) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (
    message, fields, content = '', contentless_delete = 1, tokenize = 'unicode61'
);
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO state VALUES ('indexed', 0);
";

/// What version 2 has and version 1 has not.
const MORE_TABLES: &str = "
CREATE TABLE spans (
    span INTEGER PRIMARY KEY,
    trace TEXT NOT NULL,
    id TEXT NOT NULL,
    service TEXT NOT NULL,
    parent TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    status TEXT NOT NULL,
    user TEXT NOT NULL,
    stored_at INTEGER NOT NULL,
    arrivals INTEGER NOT NULL,
    conflicts INTEGER NOT NULL,
    json TEXT NOT NULL,
    UNIQUE (trace, id, service)
) STRICT;
CREATE TABLE samples (
    service TEXT NOT NULL,
    time INTEGER NOT NULL,
    requests REAL NOT NULL,
    errors REAL NOT NULL,
    buckets TEXT NOT NULL,
    PRIMARY KEY (service, time)
) STRICT, WITHOUT ROWID;
";

/// Opens the file at `path` for writing and makes its tables if it is new.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    let doing = "opening the store for writing";
    let mut connection = Connection::open(path).map_err(Error::sqlite(doing))?;
    prepare(&connection).map_err(Error::sqlite(doing))?;
    let found = version(&connection).map_err(Error::sqlite("reading the store's version"))?;
    match found {
        VERSION => {}
        0 => make(&mut connection, &[TABLES, MORE_TABLES])?,
        1 => make(&mut connection, &[MORE_TABLES])?,
        found => {
            return Err(Error::Version {
                path: path.to_owned(),
                found,
                known: VERSION,
            });
        }
    }
    Ok(connection)
}

/// Opens the file at `path` for reading only.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "mmap_size", 268_435_456)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "cache_size", -32_768)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 67_108_864)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn make(connection: &mut Connection, tables: &[&str]) -> Result<(), Error> {
    super::writer::transact(connection, |transaction| {
        for tables in tables {
            transaction.execute_batch(tables)?;
        }
        transaction.pragma_update(None, "user_version", VERSION)
    })
    .map_err(Error::sqlite("making the store's tables"))
}
