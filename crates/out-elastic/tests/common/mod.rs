//! A lane for tests: sends batches of small documents and reads the answers.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shared by test programs that each use a part; a test panics where it fails"
)]

use std::time::Duration;

use model::document::{Body, Constants, Document};
use model::ids::{DocumentId, FileKey};
use model::record::{Field, Key, Range, Record, Value};
use model::time::UnixNanos;
use model::verdict::Verdict;
use out_elastic::{BulkEncoder, Elastic, ElasticSettings, Metrics};
use pipeline::output::{Answer, Batch, BatchId, Encoder, Output};
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The time of the first document.
pub(crate) const TIME: UnixNanos = UnixNanos(1_795_406_977_672_424_268);

pub(crate) struct Lane {
    pub(crate) registry: Registry,
    pub(crate) stop: CancellationToken,
    batches: Option<mpsc::Sender<Batch>>,
    answers: mpsc::Receiver<(BatchId, Answer)>,
    task: JoinHandle<()>,
}

impl Lane {
    pub(crate) fn start(settings: ElasticSettings) -> Self {
        let registry = Registry::new();
        let elastic = Elastic::new(settings, Metrics::new(&registry).unwrap()).unwrap();
        let (batches, receiver) = mpsc::channel(8);
        let (sender, answers) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let task = tokio::spawn(elastic.run(receiver, sender, stop.clone()));
        Self {
            registry,
            stop,
            batches: Some(batches),
            answers,
            task,
        }
    }

    pub(crate) async fn send(&self, batch: Batch) {
        self.batches.as_ref().unwrap().send(batch).await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> (u64, Answer) {
        let answer = tokio::time::timeout(PATIENCE, self.answers.recv()).await;
        let (id, answer) = answer.expect("an answer in time").expect("an answer");
        (id.0, answer)
    }

    /// Closes the lane and waits for the output's end.
    pub(crate) async fn close(mut self) -> Vec<(BatchId, Answer)> {
        self.batches = None;
        let mut rest = Vec::new();
        while let Some(answer) = self.answers.recv().await {
            rest.push(answer);
        }
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap();
        rest
    }

    pub(crate) fn counter(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families
            .iter()
            .filter(|family| family.name() == name)
            .flat_map(prometheus::proto::MetricFamily::get_metric);
        metrics
            .filter(|metric| metric.get_label().iter().any(|pair| pair.value() == label))
            .map(|metric| metric.get_counter().get_value())
            .sum()
    }
}

/// A batch of `messages` as lines of one file, the first of which stands at offset `first`.
pub(crate) fn batch(settings: &ElasticSettings, id: u64, first: u64, messages: &[&str]) -> Batch {
    let lines = messages
        .iter()
        .map(|message| vec![("message", *message)])
        .collect::<Vec<_>>();
    records(settings, id, first, &lines)
}

/// A batch of records with these fields.
pub(crate) fn records(
    settings: &ElasticSettings,
    id: u64,
    first: u64,
    lines: &[Vec<(&'static str, &str)>],
) -> Batch {
    let mut encoder = BulkEncoder::new(settings);
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (offset, fields) in (first..).zip(lines) {
        document(&mut encoder, offset, fields, &mut bytes);
        ends.push(u32::try_from(bytes.len()).unwrap());
    }
    Batch {
        id: BatchId(id),
        bytes: bytes.into(),
        ends,
    }
}

fn document(
    encoder: &mut BulkEncoder,
    offset: u64,
    fields: &[(&'static str, &str)],
    out: &mut Vec<u8>,
) {
    let (mut record, mut text) = (Record::default(), Vec::new());
    for (key, value) in fields {
        let start = u32::try_from(text.len()).unwrap();
        text.extend_from_slice(value.as_bytes());
        let end = u32::try_from(text.len()).unwrap();
        record.fields.push(Field {
            key: Key::Schema(key),
            value: Value::Plain(Range { start, end }),
        });
    }
    let constants = Constants {
        revision: 1,
        fields: vec![("service.name", "orchestrator".to_owned())],
    };
    let document = Document {
        id: DocumentId::Line(FileKey([0xab; 16]), offset),
        home: TIME.day(),
        time: TIME.plus(offset),
        sequence: offset,
        body: Body::Line(&record, &text),
        verdict: &Verdict::default(),
        constants: &constants,
    };
    encoder.encode(&document, out);
}
