//! A decoded line as both destinations would get it.

use decode::Decoder;
use model::document::{Body, Constants, Document};
use model::ids::{DocumentId, FileKey};
use model::line::Stream;
use model::record::Record;
use model::time::{Day, UnixNanos};
use model::verdict::Verdict;
use out_elastic::{BulkEncoder, ElasticSettings};
use out_forward::ForwardEncoder;
use pipeline::output::Encoder;

/// When the line arrived.
pub(crate) const ARRIVAL: UnixNanos = UnixNanos(1_795_406_977_672_424_268);

/// One line, decoded and encoded.
pub(crate) struct Rendered {
    pub(crate) record: Record,
    /// Action and document, each with its newline.
    pub(crate) bulk: Vec<u8>,
    /// `[EventTime, record]`
    pub(crate) entry: Vec<u8>,
}

impl Rendered {
    pub(crate) fn new(text: &[u8], zone_offset_seconds: i32) -> Self {
        let mut record = Record::default();
        Decoder::default().decode(
            text,
            ARRIVAL,
            Stream::Stderr,
            zone_offset_seconds,
            &mut record,
        );
        let (verdict, constants) = (Verdict::default(), Constants::default());
        let document = Document {
            id: DocumentId::Line(FileKey([7; 16]), 42),
            home: Day(20_000),
            time: record.time,
            sequence: 42,
            body: Body::Line(&record, text),
            verdict: &verdict,
            constants: &constants,
        };
        let settings = ElasticSettings::new("http://localhost:9200".parse().unwrap());
        let (mut bulk, mut entry) = (Vec::new(), Vec::new());
        BulkEncoder::new(&settings).encode(&document, &mut bulk);
        ForwardEncoder::new().encode(&document, &mut entry);
        Self {
            record,
            bulk,
            entry,
        }
    }

    /// The document of the bulk item.
    pub(crate) fn json(&self) -> &[u8] {
        let newline = self.bulk.iter().position(|byte| *byte == b'\n').unwrap();
        &self.bulk[newline + 1..]
    }
}
