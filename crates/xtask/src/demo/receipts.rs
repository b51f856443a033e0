//! What a destination has received on one lane, asked of the destination itself.
//!
//! | destination | asked how |
//! |---|---|
//! | the lab | its receipts, page by page, only what is new |
//! | a forward receiver | the file it writes, only what is new |
//! | an Elasticsearch | a scroll over everything, when the count has changed |

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use testkit::stored::StoredLine;

use super::args::LaneName;
use crate::http;

const PAGE: usize = 20_000;
/// Examples of documents that came with two contents.
const CONFLICTING_MAX: usize = 10;
const SCROLL_PAGE: usize = 5_000;
const FILE_BYTES_MAX: u64 = 1 << 30;
const BOUND: Duration = Duration::from_secs(30);

/// Whom to ask.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The lab at this address.
    Lab(SocketAddr),
    /// The file of a forward receiver: one object with `record` a line.
    File(PathBuf),
    /// The Elasticsearch at this address.
    Elasticsearch(SocketAddr),
}

/// Everything one lane has delivered so far.
#[derive(Debug)]
pub(crate) struct Receipts {
    /// The lane.
    pub(crate) lane: LaneName,
    /// Its lines in the order of arrival; documents of requests are not among them.
    pub(crate) lines: Vec<StoredLine>,
    /// How many documents of requests came.
    pub(crate) requests: u64,
    /// How often a document came again and said something else than before.
    pub(crate) conflicts: u64,
    /// Examples of such documents, by their ids.
    pub(crate) conflicting: Vec<String>,
    source: Source,
    /// Where the next new one is: a receipt, an offset or a count.
    position: u64,
}

/// One line of the lab's answer.
#[derive(Debug, Deserialize)]
struct Receipt {
    #[serde(rename = "receipt")]
    number: u64,
    stored_at_ns: u64,
    document: Value,
}

/// One line of the lab's answer, without its document.
#[derive(Debug, Deserialize)]
struct Arrivals {
    #[serde(rename = "receipt")]
    number: u64,
    id: String,
    conflicts: u64,
}

impl Receipts {
    /// Nothing is fetched yet.
    pub(crate) const fn new(lane: LaneName, source: Source) -> Self {
        Self {
            lane,
            lines: Vec::new(),
            requests: 0,
            conflicts: 0,
            conflicting: Vec::new(),
            source,
            position: 0,
        }
    }

    /// Fetches what has arrived since the last time; answers whether anything has.
    pub(crate) fn fetch(&mut self) -> Result<bool> {
        match self.source.clone() {
            Source::Lab(address) => self.fetch_lab(address),
            Source::File(path) => self.fetch_file(&path),
            Source::Elasticsearch(address) => self.fetch_elasticsearch(address),
        }
    }

    /// Fetches what is left when nothing more is sent, and how what came again differs from what was
    /// there: a document that was fetched may have met another one since. Only the lab keeps that.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.fetch()?;
        let Source::Lab(address) = self.source else {
            return Ok(());
        };
        (self.conflicts, self.conflicting) = (0, Vec::new());
        let mut after = 0;
        loop {
            let page = self.page(address, after, false)?;
            let (count, last) = self.take_arrivals(&page)?;
            after = last;
            if count < PAGE {
                return Ok(());
            }
        }
    }

    fn fetch_lab(&mut self, address: SocketAddr) -> Result<bool> {
        let mut fetched = 0;
        loop {
            let page = self.page(address, self.position, true)?;
            let count = self.take_receipts(&page)?;
            fetched += count;
            if count < PAGE {
                return Ok(fetched > 0);
            }
        }
    }

    fn page(&self, lab: SocketAddr, after: u64, whole: bool) -> Result<Vec<u8>> {
        let lane = self.lane.name();
        let path = format!("/api/v1/receipts?lane={lane}&after={after}&limit={PAGE}&whole={whole}");
        http::get(lab, &path, BOUND)
    }

    /// Answers how many there were and which the last one was.
    fn take_arrivals(&mut self, page: &[u8]) -> Result<(usize, u64)> {
        let (mut count, mut last) = (0, 0);
        for line in page
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let arrivals: Arrivals =
                serde_json::from_slice(line).context("understand a receipt of the lab")?;
            count += 1;
            last = arrivals.number;
            self.conflicts += arrivals.conflicts;
            if arrivals.conflicts > 0 && self.conflicting.len() < CONFLICTING_MAX {
                self.conflicting.push(arrivals.id);
            }
        }
        Ok((count, last))
    }

    fn take_receipts(&mut self, page: &[u8]) -> Result<usize> {
        let mut count = 0;
        for line in page
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let receipt: Receipt =
                serde_json::from_slice(line).context("understand a receipt of the lab")?;
            self.position = receipt.number;
            count += 1;
            self.take(&receipt.document, receipt.stored_at_ns);
        }
        Ok(count)
    }

    fn fetch_file(&mut self, path: &PathBuf) -> Result<bool> {
        let doing = || format!("read {}", path.display());
        let mut file = File::open(path).with_context(doing)?;
        file.seek(SeekFrom::Start(self.position))
            .with_context(doing)?;
        let mut new = Vec::new();
        file.take(FILE_BYTES_MAX)
            .read_to_end(&mut new)
            .with_context(doing)?;
        self.take_entries(&new)
    }

    /// A last line that is not whole yet is left for the next time.
    fn take_entries(&mut self, new: &[u8]) -> Result<bool> {
        let end = new
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let (whole, _) = new.split_at(end);
        for line in whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let entry: Value = serde_json::from_slice(line)
                .context("understand an entry of the forward receiver")?;
            self.take(entry.get("record").context("an entry has no record")?, 0);
        }
        self.position += end as u64;
        Ok(end > 0)
    }

    fn fetch_elasticsearch(&mut self, address: SocketAddr) -> Result<bool> {
        let ask = |path: &str| -> Result<Value> {
            let body = http::get(address, path, BOUND)?;
            serde_json::from_slice(&body).with_context(|| format!("understand {path}"))
        };
        ask("/_refresh")?;
        let answer = ask("/_all/_count")?;
        let count = answer.get("count").and_then(Value::as_u64).unwrap_or(0);
        if count == self.position {
            return Ok(false);
        }
        self.lines.clear();
        self.requests = 0;
        self.position = count;
        let mut page = ask(&format!(
            "/_all/_search?scroll=1m&size={SCROLL_PAGE}&sort=_doc"
        ))?;
        while self.take_hits(&page)? > 0 {
            let id = page.get("_scroll_id").and_then(Value::as_str);
            let id = id.context("a page of Elasticsearch has no scroll id")?;
            page = ask(&format!("/_search/scroll?scroll=1m&scroll_id={id}"))?;
        }
        Ok(true)
    }

    fn take_hits(&mut self, page: &Value) -> Result<usize> {
        let hits = page.pointer("/hits/hits").and_then(Value::as_array);
        let hits = hits.context("a page of Elasticsearch has no hits")?;
        for hit in hits {
            self.take(hit.get("_source").context("a hit has no source")?, 0);
        }
        Ok(hits.len())
    }

    fn take(&mut self, document: &Value, stored_ns: u64) {
        match StoredLine::from_document(document) {
            Some(line) => self.lines.push(StoredLine { stored_ns, ..line }),
            None => self.requests += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    fn receipts() -> Receipts {
        Receipts::new(LaneName::Forward, Source::File(PathBuf::new()))
    }

    #[test]
    fn receipts_of_the_lab_are_added_up() {
        let mut receipts = receipts();
        let page = br#"{"receipt":3,"stored_at_ns":9,"document":{"event.id":"a-0","message":"m"}}
{"receipt":7,"stored_at_ns":9,"document":{"event.id":"r-1"}}
"#;
        assert_eq!(receipts.take_receipts(page).unwrap(), 2);
        assert_eq!(receipts.take_receipts(b"").unwrap(), 0);
        assert_eq!(receipts.position, 7);
        assert_eq!((receipts.lines.len(), receipts.requests), (1, 1));
        assert_eq!(receipts.lines[0].stored_ns, 9);
        assert!(receipts.take_receipts(b"<html>\n").is_err());
    }

    #[test]
    fn documents_that_came_with_two_contents_are_counted() {
        let mut receipts = receipts();
        let page = br#"{"receipt":3,"id":"a-0","lane":"forward","arrivals":2,"conflicts":0}
{"receipt":7,"id":"a-9","lane":"forward","arrivals":3,"conflicts":2}
"#;
        assert_eq!(receipts.take_arrivals(page).unwrap(), (2, 7));
        assert_eq!(
            (receipts.conflicts, &*receipts.conflicting),
            (2, &["a-9".to_owned()][..])
        );
        assert!(receipts.take_arrivals(b"{}\n").is_err());
    }

    /// A lab that answers these pages, one after another; tells what it was asked.
    fn lab(pages: Vec<&'static str>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let answer = |page: &str| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut asked = String::new();
                reader.read_line(&mut asked).unwrap();
                let mut header = String::new();
                while reader.read_line(&mut header).unwrap() > 2 {
                    header.clear();
                }
                write!(stream, "HTTP/1.0 200 OK\r\n\r\n{page}").unwrap();
                asked
            };
            pages.into_iter().map(answer).collect()
        };
        (address, std::thread::spawn(serve))
    }

    #[test]
    fn a_conflict_of_a_document_that_was_fetched_before_is_seen_in_the_end() {
        let (address, lab) = lab(vec![
            "{\"receipt\":3,\"stored_at_ns\":9,\"document\":{\"event.id\":\"a-0\"}}\n",
            "",
            "{\"receipt\":3,\"id\":\"a-0\",\"arrivals\":2,\"conflicts\":1}\n",
        ]);
        let mut receipts = Receipts::new(LaneName::Elastic, Source::Lab(address));
        assert!(receipts.fetch().unwrap());
        assert_eq!(receipts.conflicts, 0);
        receipts.settle().unwrap();
        assert_eq!(receipts.lines.len(), 1);
        assert_eq!(receipts.conflicts, 1);
        let asked = lab.join().unwrap();
        assert!(asked[1].contains("lane=elastic&after=3&") && asked[1].contains("whole=true"));
        assert!(asked[2].contains("lane=elastic&after=0&") && asked[2].contains("whole=false"));
    }

    #[test]
    fn entries_of_a_growing_file_are_taken_once() {
        let text = b"{\"tag\":\"t\",\"record\":{\"event.id\":\"a-0\"}}\n{\"record\":{\"event.id\":\"a-1\"}}\n";
        let mut receipts = receipts();
        for end in [0, 10, 45, text.len()] {
            let from = usize::try_from(receipts.position).unwrap();
            receipts.take_entries(&text[from..end]).unwrap();
        }
        let ids: Vec<_> = receipts.lines.iter().map(|line| line.id.as_str()).collect();
        assert_eq!(ids, ["a-0", "a-1"]);
    }

    #[test]
    fn hits_are_documents() {
        let mut receipts = receipts();
        let page = json!({"hits": {"hits": [
            {"_id": "a-0", "_source": {"event.id": "a-0"}},
            {"_id": "r-0", "_source": {"event.id": "r-0"}},
        ]}});
        assert_eq!(receipts.take_hits(&page).unwrap(), 2);
        assert_eq!((receipts.lines.len(), receipts.requests), (1, 1));
        assert!(receipts.take_hits(&json!({"error": "away"})).is_err());
    }
}
