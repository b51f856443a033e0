//! Spans: written once for each trace, id and service; read by trace, or as a stream of receipts.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;

use super::{Error, Room, Store};

/// A span on its way into the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IncomingSpan {
    /// 32 hex digits.
    pub(crate) trace: String,
    /// 16 hex digits.
    pub(crate) id: String,
    /// 16 hex digits, or empty.
    pub(crate) parent: String,
    /// `service.name` of its resource.
    pub(crate) service: String,
    /// Its name.
    pub(crate) name: String,
    /// `server`, `client`, `internal`, …
    pub(crate) kind: &'static str,
    /// Nanoseconds since the epoch.
    pub(crate) start: u64,
    /// Nanoseconds since the epoch.
    pub(crate) end: u64,
    /// `unset`, `ok` or `error`.
    pub(crate) status: &'static str,
    /// `user.id`, or empty.
    pub(crate) user: String,
    /// Everything else, as an object.
    pub(crate) json: String,
}

/// What became of a group of spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredSpans {
    /// New ones.
    pub(crate) created: u64,
    /// Those that were there.
    pub(crate) duplicate: u64,
}

/// A span as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanRow {
    /// Its id.
    pub(crate) id: String,
    /// Its parent, or empty.
    pub(crate) parent: String,
    /// Its service.
    pub(crate) service: String,
    /// Its name.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: String,
    /// Nanoseconds since the epoch.
    pub(crate) start: u64,
    /// Nanoseconds since the epoch.
    pub(crate) end: u64,
    /// Whether it failed.
    pub(crate) failed: bool,
    /// Everything else, as an object.
    pub(crate) json: String,
}

/// Which spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanQuery {
    /// Only of this trace, if it is not empty.
    pub(crate) trace: String,
    /// Only of this service, if it is not empty.
    pub(crate) service: String,
    /// Only after this one (the `receipt` of the last line one has).
    pub(crate) after: i64,
    /// At most so many.
    pub(crate) limit: usize,
}

/// How many spans there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SpanCounts {
    /// All of them.
    pub(crate) spans: u64,
    /// Their traces.
    pub(crate) traces: u64,
    /// How often spans arrived, first times included.
    pub(crate) arrivals: u64,
    /// How often a span arrived again and said something else.
    pub(crate) conflicts: u64,
    /// Spans with status error.
    pub(crate) errors: u64,
    /// Spans that name a person.
    pub(crate) with_user: u64,
    /// Spans by service.
    pub(crate) by_service: BTreeMap<String, u64>,
}

impl Store {
    /// Stores spans in one transaction.
    pub(crate) async fn write_spans(
        &self,
        spans: Vec<IncomingSpan>,
        room: Room,
    ) -> Result<StoredSpans, Error> {
        self.change("storing spans", move |transaction| {
            let _room = room;
            let now = super::writer::now_nanos();
            let mut stored = StoredSpans::default();
            for span in &spans {
                if put(transaction, span, now)? {
                    stored.created += 1;
                } else {
                    stored.duplicate += 1;
                }
            }
            Ok(stored)
        })
        .await
    }
}

/// Whether it is new.
fn put(transaction: &Transaction<'_>, span: &IncomingSpan, now: i64) -> rusqlite::Result<bool> {
    let known: Option<(i64, String, i64, String)> = transaction
        .prepare_cached(
            "SELECT span, name, ended, json FROM spans WHERE trace = ?1 AND id = ?2 AND service = ?3",
        )?
        .query_row(params![span.trace, span.id, span.service], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let end = super::writer::signed(span.end);
    if let Some((row, name, known_end, json)) = known {
        let differs = name != span.name || known_end != end || json != span.json;
        transaction
            .prepare_cached(
                "UPDATE spans SET arrivals = arrivals + 1, conflicts = conflicts + ?2
                 WHERE span = ?1",
            )?
            .execute(params![row, i64::from(differs)])?;
        return Ok(false);
    }
    transaction
        .prepare_cached(
            "INSERT INTO spans (trace, id, service, parent, name, kind, began, ended, status, user,
                                stored_at, arrivals, conflicts, json)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1, 0, ?12)",
        )?
        .execute(params![
            span.trace,
            span.id,
            span.service,
            span.parent,
            span.name,
            span.kind,
            super::writer::signed(span.start),
            end,
            span.status,
            span.user,
            now,
            span.json,
        ])?;
    Ok(true)
}

/// The spans of a trace by their start, at most `limit`; and whether there are more.
pub(crate) fn spans_of(
    connection: &Connection,
    trace: &str,
    limit: usize,
) -> rusqlite::Result<(Vec<SpanRow>, bool)> {
    let mut statement = connection.prepare_cached(
        "SELECT id, parent, service, name, kind, began, ended, status, json FROM spans
         WHERE trace = ?1 ORDER BY began, span LIMIT ?2",
    )?;
    let limit_and_one = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![trace, limit_and_one], |row| {
        Ok(SpanRow {
            id: row.get(0)?,
            parent: row.get(1)?,
            service: row.get(2)?,
            name: row.get(3)?,
            kind: row.get(4)?,
            start: row.get::<_, i64>(5)?.unsigned_abs(),
            end: row.get::<_, i64>(6)?.unsigned_abs(),
            failed: row.get_ref(7)?.as_str()? == "error",
            json: row.get(8)?,
        })
    })?;
    let mut spans = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let more = spans.len() > limit;
    spans.truncate(limit);
    Ok((spans, more))
}

impl SpanQuery {
    /// Reads them as one JSON object a line.
    pub(crate) fn page(&self, connection: &Connection, whole: bool) -> rusqlite::Result<Vec<u8>> {
        let mut statement = connection.prepare_cached(
            "SELECT span, trace, id, parent, service, name, kind, began, ended, status, user,
                    arrivals, conflicts, stored_at, json
             FROM spans
             WHERE span > ?1 AND (?2 = '' OR trace = ?2) AND (?3 = '' OR service = ?3)
             ORDER BY span LIMIT ?4",
        )?;
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![self.after, self.trace, self.service, limit])?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            let line = SpanLine {
                receipt: row.get(0)?,
                trace: row.get_ref(1)?.as_str()?,
                id: row.get_ref(2)?.as_str()?,
                parent: row.get_ref(3)?.as_str()?,
                service: row.get_ref(4)?.as_str()?,
                name: row.get_ref(5)?.as_str()?,
                kind: row.get_ref(6)?.as_str()?,
                start_ns: row.get(7)?,
                end_ns: row.get(8)?,
                status: row.get_ref(9)?.as_str()?,
                user: row.get_ref(10)?.as_str()?,
                arrivals: row.get(11)?,
                conflicts: row.get(12)?,
                stored_at_ns: row.get(13)?,
                document: if whole {
                    serde_json::from_str(row.get_ref(14)?.as_str()?).ok()
                } else {
                    None
                },
            };
            serde_json::to_writer(&mut lines, &line)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// Counts the spans it means, without regard to `after` and `limit`.
    pub(crate) fn counts(&self, connection: &Connection) -> rusqlite::Result<SpanCounts> {
        let which = "(?1 = '' OR trace = ?1) AND (?2 = '' OR service = ?2)";
        let mut counts = connection
            .prepare_cached(&format!(
                "SELECT count(*), count(DISTINCT trace), coalesce(sum(arrivals), 0),
                        coalesce(sum(conflicts), 0), coalesce(sum(status = 'error'), 0),
                        coalesce(sum(user <> ''), 0)
                 FROM spans WHERE {which}"
            ))?
            .query_row(params![self.trace, self.service], |row| {
                let number = |column| row.get(column).map(i64::unsigned_abs);
                Ok(SpanCounts {
                    spans: number(0)?,
                    traces: number(1)?,
                    arrivals: number(2)?,
                    conflicts: number(3)?,
                    errors: number(4)?,
                    with_user: number(5)?,
                    by_service: BTreeMap::new(),
                })
            })?;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT service, count(*) FROM spans WHERE {which} GROUP BY service"
        ))?;
        let rows = statement.query_map(params![self.trace, self.service], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
        })?;
        counts.by_service = rows.collect::<rusqlite::Result<_>>()?;
        Ok(counts)
    }
}

/// Absent facts are left out of a line.
#[derive(Serialize)]
struct SpanLine<'a> {
    receipt: i64,
    trace: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    parent: &'a str,
    service: &'a str,
    name: &'a str,
    kind: &'a str,
    start_ns: i64,
    end_ns: i64,
    status: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    arrivals: i64,
    conflicts: i64,
    stored_at_ns: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a serde_json::value::RawValue>,
}
