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
use model::line::Stream;
use model::record::{Field, Key, Range, Record, Value};
use model::time::UnixNanos;
use model::verdict::Verdict;
use out_forward::{Forward, ForwardEncoder, ForwardSettings, Metrics};
use pipeline::output::{Answer, Batch, BatchId, Encoder, Output};
use prometheus::Registry;
use prometheus::proto::MetricFamily;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Lane {
    pub(crate) registry: Registry,
    pub(crate) stop: CancellationToken,
    batches: Option<mpsc::Sender<Batch>>,
    answers: mpsc::Receiver<(BatchId, Answer)>,
    task: JoinHandle<()>,
}

impl Lane {
    pub(crate) fn start(settings: ForwardSettings) -> Self {
        let registry = Registry::new();
        let forward = Forward::new(settings, Metrics::new(&registry).unwrap()).unwrap();
        let (batches, receiver) = mpsc::channel(8);
        let (sender, answers) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let task = tokio::spawn(forward.run(receiver, sender, stop.clone()));
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

    pub(crate) fn failures(&self, reason: &str) -> f64 {
        let families = self.registry.gather();
        let metrics = families
            .iter()
            .filter(|family| family.name() == "emco_observer_forward_failures_total")
            .flat_map(MetricFamily::get_metric);
        metrics
            .filter(|metric| metric.get_label()[0].value() == reason)
            .map(|metric| metric.get_counter().get_value())
            .sum()
    }
}

/// A batch of `messages` as lines of one file, the first of which stands at offset `first`.
pub(crate) fn batch(id: u64, first: u64, messages: &[&str]) -> Batch {
    let mut encoder = ForwardEncoder::new();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (offset, message) in (first..).zip(messages) {
        document(&mut encoder, offset, message, &mut bytes);
        ends.push(u32::try_from(bytes.len()).unwrap());
    }
    Batch {
        id: BatchId(id),
        bytes: bytes.into(),
        ends,
    }
}

fn document(encoder: &mut ForwardEncoder, offset: u64, message: &str, out: &mut Vec<u8>) {
    let record = Record {
        stream: Stream::Stdout,
        fields: vec![Field {
            key: Key::Schema("message"),
            value: Value::Plain(Range {
                start: 0,
                end: u32::try_from(message.len()).unwrap(),
            }),
        }],
        ..Record::default()
    };
    let constants = Constants {
        revision: 1,
        fields: vec![("service.name", "orchestrator".to_owned())],
    };
    let time = UnixNanos(1_795_406_977_672_424_268 + offset);
    let document = Document {
        id: DocumentId::Line(FileKey([0xab; 16]), offset),
        home: time.day(),
        time,
        sequence: offset,
        body: Body::Line(&record, message.as_bytes()),
        verdict: &Verdict::default(),
        constants: &constants,
    };
    encoder.encode(&document, out);
}
