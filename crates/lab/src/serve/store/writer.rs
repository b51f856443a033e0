//! The one thread that writes: group commit first, full-text index when nobody waits.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

use super::{Error, Incoming, Lane, Mode, Stored, Work, Write};
use crate::serve::facts::Facts;
use crate::serve::metrics::Metrics;

/// Documents after which a transaction is closed although more wait.
const GROUP_MAX: usize = 8192;
/// Documents that are added to the full-text index in one transaction.
const INDEX_STEP: i64 = 512;
/// Documents the index may stay behind before it takes turns with writes.
const INDEX_LAG_MAX: i64 = 20_000;

/// Writes until `commands` is closed and empty, then closes the store.
pub(super) fn run(
    mut connection: Connection,
    mut commands: mpsc::Receiver<Work>,
    metrics: &Metrics,
) {
    let mut lag = 1;
    loop {
        let work = if lag > 0 {
            match commands.try_recv() {
                Ok(work) => work,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) => {
                    lag = index_or_report(&mut connection, metrics);
                    continue;
                }
            }
        } else {
            match commands.blocking_recv() {
                Some(work) => work,
                None => break,
            }
        };
        perform(&mut connection, work, &mut commands, metrics);
        lag = lag.max(1);
        if metrics.index_lag.get() > INDEX_LAG_MAX {
            lag = index_or_report(&mut connection, metrics);
        }
    }
    close(connection);
}

fn close(connection: Connection) {
    let checkpoint = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = checkpoint {
        tracing::warn!(%error, "the store's log could not be folded in; the next start will do it");
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the store did not close cleanly");
    }
}

/// Does `work`, together with all documents that wait right behind it.
fn perform(
    connection: &mut Connection,
    work: Work,
    commands: &mut mpsc::Receiver<Work>,
    metrics: &Metrics,
) {
    let mut change = None;
    match work {
        Work::Change(alone) => change = Some(alone),
        Work::Documents(first) => {
            let mut rows = first.rows.len();
            let mut writes = vec![first];
            while rows < GROUP_MAX {
                match commands.try_recv() {
                    Ok(Work::Documents(write)) => {
                        rows += write.rows.len();
                        writes.push(write);
                    }
                    Ok(Work::Change(next)) => {
                        change = Some(next);
                        break;
                    }
                    Err(_) => break,
                }
            }
            store(connection, writes, rows, metrics);
        }
    }
    if let Some(change) = change {
        change(connection);
    }
}

/// Runs `work` in a transaction and commits it.
pub(super) fn transact<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// Commits a group, then answers all of it.
fn store(connection: &mut Connection, writes: Vec<Write>, rows: usize, metrics: &Metrics) {
    let result = commit(connection, &writes);
    match result {
        Ok(outcomes) => {
            metrics.commits.inc();
            for (write, outcomes) in writes.into_iter().zip(outcomes) {
                let new = metrics.count_stored(write.lane, &outcomes);
                // Corrected by the next step of the index, which knows exactly.
                metrics.index_lag.add(new);
                // A peer that went away before its answer needs none.
                drop(write.reply.send(Ok(outcomes)));
            }
        }
        Err(error) => {
            metrics.commit_failures.inc();
            tracing::error!(documents = rows, %error, "nothing of this group was stored");
            let error = Error::sqlite("storing documents")(error);
            for write in writes {
                drop(write.reply.send(Err(error.clone())));
            }
        }
    }
}

fn commit(connection: &mut Connection, writes: &[Write]) -> rusqlite::Result<Vec<Vec<Stored>>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = now_nanos();
    let mut outcomes = Vec::with_capacity(writes.len());
    for write in writes {
        let rows = write.rows.iter();
        let group: rusqlite::Result<Vec<Stored>> = rows
            .map(|row| put(&transaction, write.lane, row, now))
            .collect();
        outcomes.push(group?);
    }
    transaction.commit()?;
    Ok(outcomes)
}

fn put(
    transaction: &Transaction<'_>,
    lane: Lane,
    row: &Incoming,
    now: i64,
) -> rusqlite::Result<Stored> {
    let known: Option<(i64, i64, i64)> = transaction
        .prepare_cached(
            "SELECT receipt, document, content FROM receipts
             WHERE id = ?1 AND lane = ?2 AND home = ?3",
        )?
        .query_row(params![row.id, lane.name(), row.home], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    match known {
        None => create(transaction, lane, row, now),
        Some((receipt, document, before)) => {
            again(transaction, row, receipt, row.content != before)?;
            if row.mode == Mode::Create {
                return Ok(Stored::Duplicate);
            }
            overwrite(transaction, row, document, receipt)?;
            Ok(Stored::Updated)
        }
    }
}

fn create(
    transaction: &Transaction<'_>,
    lane: Lane,
    row: &Incoming,
    now: i64,
) -> rusqlite::Result<Stored> {
    let key = document_key(row);
    let shown: Option<(i64, String)> = transaction
        .prepare_cached("SELECT document, json FROM documents WHERE key = ?1")?
        .query_row(params![key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (document, own): (i64, Option<&String>) = match shown {
        None => (insert_document(transaction, &key, row)?, None),
        Some((document, json)) => (document, differs(&json, row).then_some(&row.json)),
    };
    transaction
        .prepare_cached(
            "INSERT INTO receipts
             (lane, home, id, document, stored_at, arrivals, conflicts, content, json)
             VALUES (?1, ?2, ?3, ?4, ?5, 1, 0, ?6, ?7)",
        )?
        .execute(params![
            lane.name(),
            row.home,
            row.id,
            document,
            now,
            row.content,
            own
        ])?;
    Ok(Stored::Created)
}

fn insert_document(
    transaction: &Transaction<'_>,
    key: &str,
    row: &Incoming,
) -> rusqlite::Result<i64> {
    let facts = &row.facts;
    transaction
        .prepare_cached(
            "INSERT INTO documents
             (key, kind, time, service, level, attribution, user, trace, json)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            key,
            kind(facts),
            signed(facts.time),
            facts.service,
            facts.level,
            facts.attribution().name(),
            none_if_empty(&facts.user),
            none_if_empty(&facts.trace),
            row.json,
        ])?;
    Ok(transaction.last_insert_rowid())
}

fn again(
    transaction: &Transaction<'_>,
    row: &Incoming,
    receipt: i64,
    changed: bool,
) -> rusqlite::Result<()> {
    let conflict = i64::from(changed && row.mode == Mode::Create);
    transaction
        .prepare_cached(
            "UPDATE receipts SET arrivals = arrivals + 1, conflicts = conflicts + ?2
             WHERE receipt = ?1",
        )?
        .execute(params![receipt, conflict])?;
    Ok(())
}

fn overwrite(
    transaction: &Transaction<'_>,
    row: &Incoming,
    document: i64,
    receipt: i64,
) -> rusqlite::Result<()> {
    let facts = &row.facts;
    transaction
        .prepare_cached(
            "UPDATE documents SET kind = ?2, time = ?3, service = ?4, level = ?5,
             attribution = ?6, user = ?7, trace = ?8, json = ?9 WHERE document = ?1",
        )?
        .execute(params![
            document,
            kind(facts),
            signed(facts.time),
            facts.service,
            facts.level,
            facts.attribution().name(),
            none_if_empty(&facts.user),
            none_if_empty(&facts.trace),
            row.json,
        ])?;
    transaction
        .prepare_cached("UPDATE receipts SET content = ?2, json = NULL WHERE receipt = ?1")?
        .execute(params![receipt, row.content])?;
    if document <= indexed(transaction)? {
        index_document(transaction, document, facts)?;
    }
    Ok(())
}

fn index_or_report(connection: &mut Connection, metrics: &Metrics) -> i64 {
    match index(connection) {
        Ok(lag) => {
            metrics.index_lag.set(lag);
            lag
        }
        Err(error) => {
            metrics.index_failures.inc();
            tracing::error!(%error, "full-text index is behind; tried again after the next write");
            0
        }
    }
}

/// Adds the next documents to the full-text index; answers how many are left.
fn index(connection: &mut Connection) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let indexed = indexed(&transaction)?;
    let mut last = indexed;
    {
        let mut statement = transaction.prepare_cached(
            "SELECT document, json FROM documents WHERE document > ?1 ORDER BY document LIMIT ?2",
        )?;
        let mut rows = statement.query(params![indexed, INDEX_STEP])?;
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            let facts = Facts::parse(row.get_ref(1)?.as_str()?).unwrap_or_default();
            index_document(&transaction, last, &facts)?;
        }
    }
    if last > indexed {
        transaction
            .prepare_cached("UPDATE state SET value = ?1 WHERE name = 'indexed'")?
            .execute(params![last])?;
    }
    let newest: i64 = transaction
        .prepare_cached("SELECT coalesce(max(document), 0) FROM documents")?
        .query_row([], |row| row.get(0))?;
    transaction.commit()?;
    Ok(newest - last)
}

fn index_document(
    transaction: &Transaction<'_>,
    document: i64,
    facts: &Facts,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO words (rowid, message, fields) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![document, facts.searchable_message(), facts.words()])?;
    Ok(())
}

fn indexed(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("SELECT value FROM state WHERE name = 'indexed'")?
        .query_row([], |row| row.get(0))
}

/// Our ids mean the same document wherever they appear; anybody else's only inside one index.
fn document_key(row: &Incoming) -> String {
    let ours = row.id == row.facts.id && row.id.len() > 32 && row.id.contains('-');
    if ours {
        row.id.clone()
    } else {
        format!("{}/{}", row.home, row.id)
    }
}

/// Whether this lane's copy says anything else than the one that is shown.
fn differs(shown: &str, row: &Incoming) -> bool {
    shown != row.json && Facts::parse(shown).ok().as_ref() != Some(&row.facts)
}

fn kind(facts: &Facts) -> &'static str {
    if facts.request { "request" } else { "line" }
}

fn none_if_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// As SQLite keeps numbers.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Nanoseconds since the epoch.
pub(super) fn now_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}
