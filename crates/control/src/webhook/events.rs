//! Kubernetes Events for operators: why a pod has no sidecar, or less than was asked for.
//!
//! The pod does not exist yet when it is reviewed, so the Event is about what owns it: the
//! `ReplicaSet`, `StatefulSet` or Job that `kubectl describe` is asked about. A pod without an owner is named itself.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::review::Request;
use crate::metrics::Metrics;

/// Notices that wait; a burst of pods has one each, and they say the same.
const WAITING_MAX: usize = 256;
/// Who says it.
const REPORTER: &str = "emco-observer-control";
/// What was done, or not.
const ACTION: &str = "Inject";

/// Something that an operator should know of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Who is told of it.
    object: ObjectReference,
    /// A word.
    reason: &'static str,
    /// A sentence.
    note: String,
}

/// Where notices go. Clones go to the same place.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Notice>,
    metrics: Metrics,
}

impl Events {
    /// A queue of notices; whoever holds the other end sends them.
    pub fn new(metrics: Metrics) -> (Self, mpsc::Receiver<Notice>) {
        let (queue, notices) = mpsc::channel(WAITING_MAX);
        (Self { queue, metrics }, notices)
    }

    /// Hands a notice over; a review never waits for it.
    pub(crate) fn tell(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.metrics.events.with_label_values(&["full"]).inc();
        }
    }
}

impl Notice {
    /// Says `note` about the pod of a review.
    pub(crate) fn new(review: &Request, reason: &'static str, note: String) -> Self {
        let metadata = review.object.get("metadata");
        let owners = metadata.and_then(|metadata| metadata.get("ownerReferences"));
        let mut owners = owners.and_then(Value::as_array).into_iter().flatten();
        let controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
        let owner = owners.find(controller);
        let text = |of: Option<&Value>, key: &str| {
            let text = of.and_then(|of| of.get(key)).and_then(Value::as_str);
            text.map(str::to_owned)
        };
        let name = text(metadata, "name").or_else(|| text(metadata, "generateName"));
        let object = ObjectReference {
            api_version: text(owner, "apiVersion").or_else(|| Some("v1".to_owned())),
            kind: text(owner, "kind").or_else(|| Some("Pod".to_owned())),
            name: text(owner, "name").or(name),
            namespace: Some(review.namespace.clone()),
            uid: text(owner, "uid"),
            ..ObjectReference::default()
        };
        Self {
            object,
            reason,
            note,
        }
    }
}

/// Sends notices until `stop`; what cannot be sent is counted and said in our own log.
pub(crate) async fn deliver(
    client: Client,
    replica: String,
    mut notices: mpsc::Receiver<Notice>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let reporter = Reporter {
        controller: REPORTER.to_owned(),
        instance: Some(replica),
    };
    let recorder = Recorder::new(client, reporter);
    let deliver = async {
        while let Some(notice) = notices.recv().await {
            let event = Event {
                type_: EventType::Warning,
                reason: notice.reason.to_owned(),
                note: Some(notice.note.clone()),
                action: ACTION.to_owned(),
                secondary: None,
            };
            let sent = recorder.publish(&event, &notice.object).await;
            let outcome = if sent.is_ok() { "sent" } else { "failed" };
            metrics.events.with_label_values(&[outcome]).inc();
            if let Err(error) = sent {
                let (error, note) = (net::chain(&error), notice.note);
                tracing::warn!(error, note, "an event could not be sent");
            }
        }
    };
    stop.run_until_cancelled(deliver).await;
}
