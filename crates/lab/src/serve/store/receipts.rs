//! What each lane received, as lines of JSON in the order of arrival.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::Lane;
use crate::serve::facts::Facts;

/// Which receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceiptQuery {
    /// Only of this lane.
    pub(crate) lane: Option<Lane>,
    /// Only after this receipt (the `receipt` of the last line one has).
    pub(crate) after: i64,
    /// At most so many.
    pub(crate) limit: usize,
    /// With the whole document as `document`.
    pub(crate) whole: bool,
}

/// A run of lines.
#[derive(Debug, Default)]
pub(crate) struct ReceiptPage {
    /// One JSON object a line.
    pub(crate) lines: Vec<u8>,
    /// How many lines.
    pub(crate) count: usize,
    /// The last receipt in it.
    pub(crate) last: i64,
}

/// Absent facts are left out of a line.
#[derive(Serialize)]
struct Line<'a> {
    receipt: i64,
    id: &'a str,
    lane: &'a str,
    home: &'a str,
    arrivals: i64,
    conflicts: i64,
    stored_at_ns: i64,
    kind: &'static str,
    time_ns: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    service: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    level: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    outcome: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_source: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    inferred_trace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    inferred_user: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    candidates: &'a [String],
    message: &'a str,
    log_path: &'a str,
    log_offset: u64,
    stream: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a serde_json::value::RawValue>,
}

impl ReceiptQuery {
    /// Reads the receipts.
    pub(crate) fn page(&self, connection: &Connection) -> rusqlite::Result<ReceiptPage> {
        let mut statement = connection.prepare_cached(
            "SELECT receipt, id, lane, home, arrivals, conflicts, stored_at,
                    coalesce(receipts.json, documents.json)
             FROM receipts JOIN documents USING (document)
             WHERE receipt > ?1 AND (?2 = '' OR lane = ?2) ORDER BY receipt LIMIT ?3",
        )?;
        let lane = self.lane.map_or("", Lane::name);
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![self.after, lane, limit])?;
        let mut page = ReceiptPage {
            last: self.after,
            ..ReceiptPage::default()
        };
        while let Some(row) = rows.next()? {
            self.write(row, &mut page.lines)?;
            page.count += 1;
            page.last = row.get(0)?;
        }
        Ok(page)
    }

    fn write(&self, row: &rusqlite::Row<'_>, out: &mut Vec<u8>) -> rusqlite::Result<()> {
        let json = row.get_ref(7)?.as_str()?;
        let facts = Facts::parse(json).unwrap_or_default();
        let line = Line {
            receipt: row.get(0)?,
            id: row.get_ref(1)?.as_str()?,
            lane: row.get_ref(2)?.as_str()?,
            home: row.get_ref(3)?.as_str()?,
            arrivals: row.get(4)?,
            conflicts: row.get(5)?,
            stored_at_ns: row.get(6)?,
            kind: if facts.request { "request" } else { "line" },
            time_ns: facts.time,
            service: &facts.service,
            level: &facts.level,
            outcome: &facts.outcome,
            rule: &facts.rule,
            trace: &facts.trace,
            user: &facts.user,
            user_source: &facts.user_source,
            inferred_trace: &facts.inferred_trace,
            inferred_user: &facts.inferred_user,
            candidates: &facts.candidates,
            message: &facts.message,
            log_path: &facts.path,
            log_offset: facts.sequence,
            stream: &facts.stream,
            document: if self.whole {
                serde_json::from_str(json).ok()
            } else {
                None
            },
        };
        serde_json::to_writer(&mut *out, &line)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        out.push(b'\n');
        Ok(())
    }
}
