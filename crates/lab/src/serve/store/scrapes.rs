//! What scrapes of sidecars said, by service over time.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::{Error, Store};

/// How long samples are kept, in nanoseconds.
const KEPT: i64 = 24 * 3600 * 1_000_000_000;
/// A sample that says nothing new is kept only that long after the last one, in nanoseconds.
const UNCHANGED: i64 = 60 * 1_000_000_000;

/// The counters of one service at one time, as sums since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Nanoseconds since the epoch.
    pub(crate) time: u64,
    /// Requests.
    pub(crate) requests: f64,
    /// Those that the service failed.
    pub(crate) errors: f64,
    /// Upper limit in seconds and how many took no longer, sorted.
    pub(crate) buckets: Vec<(f64, f64)>,
}

impl Store {
    /// Stores what one scrape said; answers how many samples say something new.
    pub(crate) async fn write_samples(
        &self,
        samples: Vec<(String, Sample)>,
    ) -> Result<usize, Error> {
        self.change("storing metrics", move |transaction| {
            let mut new = 0;
            for (service, sample) in &samples {
                new += usize::from(put(transaction, service, sample)?);
            }
            Ok(new)
        })
        .await
    }
}

fn put(connection: &Connection, service: &str, sample: &Sample) -> rusqlite::Result<bool> {
    let buckets = text(&sample.buckets);
    let time = super::writer::signed(sample.time);
    let last: Option<(i64, f64, f64, String)> = connection
        .prepare_cached(
            "SELECT time, requests, errors, buckets FROM samples
             WHERE service = ?1 ORDER BY time DESC LIMIT 1",
        )?
        .query_row(params![service], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let is_known = last.is_some_and(|(then, requests, errors, known)| {
        let is_same = (requests, errors) == (sample.requests, sample.errors) && known == buckets;
        then >= time || (is_same && time - then < UNCHANGED)
    });
    if is_known {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "INSERT INTO samples (service, time, requests, errors, buckets)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            service,
            time,
            sample.requests,
            sample.errors,
            buckets
        ])?;
    connection
        .prepare_cached("DELETE FROM samples WHERE service = ?1 AND time < ?2")?
        .execute(params![service, time - KEPT])?;
    Ok(true)
}

/// The services that samples are of, sorted.
pub(crate) fn sampled(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT service FROM samples ORDER BY service")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// The samples of a service from the last one before `from` up to `to`, oldest first.
pub(crate) fn samples(
    connection: &Connection,
    service: &str,
    from: u64,
    to: u64,
) -> rusqlite::Result<Vec<Sample>> {
    let mut statement = connection.prepare_cached(
        "SELECT time, requests, errors, buckets FROM samples
         WHERE service = ?1 AND time <= ?3 AND time >= coalesce(
             (SELECT max(time) FROM samples WHERE service = ?1 AND time < ?2), ?2)
         ORDER BY time",
    )?;
    let (from, to) = (super::writer::signed(from), super::writer::signed(to));
    let rows = statement.query_map(params![service, from, to], |row| {
        Ok(Sample {
            time: row.get::<_, i64>(0)?.unsigned_abs(),
            requests: row.get(1)?,
            errors: row.get(2)?,
            buckets: parsed(row.get_ref(3)?.as_str()?),
        })
    })?;
    rows.collect()
}

/// `0.5=4 inf=9`
fn text(buckets: &[(f64, f64)]) -> String {
    let pairs = buckets
        .iter()
        .map(|(limit, count)| format!("{limit}={count}"));
    pairs.collect::<Vec<_>>().join(" ")
}

fn parsed(text: &str) -> Vec<(f64, f64)> {
    let pairs = text.split_ascii_whitespace().filter_map(|pair| {
        let (limit, count) = pair.split_once('=')?;
        Some((limit.parse().ok()?, count.parse().ok()?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read_as_they_were_written() {
        let buckets = [(0.005, 1.0), (0.5, 4.0), (f64::INFINITY, 9.0)];
        assert_eq!(text(&buckets), "0.005=1 0.5=4 inf=9");
        assert_eq!(parsed(&text(&buckets)), buckets);
        assert_eq!(parsed("x 1= =2"), []);
    }
}
