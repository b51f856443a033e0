//! What the lab has received on one lane, fetched page by page.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use testkit::stored::StoredLine;

use super::args::LaneName;
use crate::http;

const PAGE: usize = 20_000;
const BOUND: Duration = Duration::from_secs(30);

/// Everything one lane has delivered so far.
#[derive(Debug)]
pub(crate) struct Receipts {
    /// The lane.
    pub(crate) lane: LaneName,
    /// Its lines in the order of arrival; documents of requests are not among them.
    pub(crate) lines: Vec<StoredLine>,
    /// How many documents of requests came.
    pub(crate) requests: u64,
    after: i64,
}

/// One line of a page.
#[derive(Debug, Deserialize)]
struct Receipt {
    #[serde(rename = "receipt")]
    number: i64,
    stored_at_ns: u64,
    document: serde_json::Value,
}

impl Receipts {
    /// Nothing is fetched yet.
    pub(crate) const fn new(lane: LaneName) -> Self {
        Self {
            lane,
            lines: Vec::new(),
            requests: 0,
            after: 0,
        }
    }

    /// Fetches what has arrived since the last time; answers how many documents came.
    pub(crate) fn fetch(&mut self, lab: SocketAddr) -> Result<usize> {
        let mut fetched = 0;
        loop {
            let path = format!(
                "/api/v1/receipts?lane={}&after={}&limit={PAGE}&whole=true",
                self.lane.name(),
                self.after
            );
            let page = self.take(&http::get(lab, &path, BOUND)?)?;
            fetched += page;
            if page < PAGE {
                return Ok(fetched);
            }
        }
    }

    fn take(&mut self, page: &[u8]) -> Result<usize> {
        let mut count = 0;
        for line in page
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let receipt: Receipt =
                serde_json::from_slice(line).context("understand a receipt of the lab")?;
            self.after = receipt.number;
            count += 1;
            match StoredLine::from_document(&receipt.document) {
                Some(mut line) => {
                    line.stored_ns = receipt.stored_at_ns;
                    self.lines.push(line);
                }
                None => self.requests += 1,
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_added_up() {
        let mut receipts = Receipts::new(LaneName::Forward);
        let page = br#"{"receipt":3,"stored_at_ns":9,"document":{"event.id":"a-0","message":"m"}}
{"receipt":7,"stored_at_ns":9,"document":{"event.id":"r-1"}}
"#;
        assert_eq!(receipts.take(page).unwrap(), 2);
        assert_eq!(receipts.take(b"").unwrap(), 0);
        assert_eq!(receipts.after, 7);
        assert_eq!((receipts.lines.len(), receipts.requests), (1, 1));
        assert_eq!(receipts.lines[0].stored_ns, 9);
    }

    #[test]
    fn a_page_that_is_none_is_an_error() {
        let mut receipts = Receipts::new(LaneName::Elastic);
        assert!(receipts.take(b"<html>\n").is_err());
    }
}
