//! Kubernetes Events for operators: why a pod has no sidecar, or less than was asked for.
//!
//! The pod does not exist yet when it is reviewed, so the Event is about what owns it: the
//! `ReplicaSet`, `StatefulSet` or Job that `kubectl describe` is asked about. A pod without an owner is named itself.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as K8sEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
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
/// Longest note that the API server takes.
const NOTE_BYTES_MAX: usize = 1024;
/// The API server has something of that name already.
const CONFLICT: u16 = 409;

/// Something that an operator should know of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Who is told of it.
    object: ObjectReference,
    /// A word.
    reason: &'static str,
    /// A sentence.
    note: String,
    /// Name of the Event, where all replicas give it the same, so that one of them tells.
    name: Option<String>,
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
        Self {
            object: owner(&review.object, &review.namespace),
            reason,
            note: short(note),
            name: None,
        }
    }

    /// Says `note` about a pod by an Event called `name`, which is made once, whoever tries.
    pub(crate) fn once(
        object: ObjectReference,
        reason: &'static str,
        note: String,
        name: String,
    ) -> Self {
        Self {
            object,
            reason,
            note: short(note),
            name: Some(name),
        }
    }

    /// The Event for all replicas, from this one.
    fn to_event(&self, name: &str, reporter: &Reporter) -> K8sEvent {
        let instance = reporter.instance.clone();
        K8sEvent {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: self.object.namespace.clone(),
                ..ObjectMeta::default()
            },
            action: Some(ACTION.to_owned()),
            event_time: Some(MicroTime(jiff::Timestamp::now())),
            note: Some(self.note.clone()),
            reason: Some(self.reason.to_owned()),
            regarding: Some(self.object.clone()),
            reporting_controller: Some(reporter.controller.clone()),
            reporting_instance: instance.or_else(|| Some(reporter.controller.clone())),
            type_: Some("Warning".to_owned()),
            ..K8sEvent::default()
        }
    }
}

/// What owns `pod`, or the pod itself.
pub(crate) fn owner(pod: &Value, namespace: &str) -> ObjectReference {
    let metadata = pod.get("metadata");
    let owners = metadata.and_then(|metadata| metadata.get("ownerReferences"));
    let mut owners = owners.and_then(Value::as_array).into_iter().flatten();
    let controller = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
    let owner = owners.find(controller);
    let text = |of: Option<&Value>, key: &str| {
        let text = of.and_then(|of| of.get(key)).and_then(Value::as_str);
        text.map(str::to_owned)
    };
    let name = text(metadata, "name").or_else(|| text(metadata, "generateName"));
    // a pod that is reviewed has no uid yet
    let uid = if owner.is_some() {
        text(owner, "uid")
    } else {
        text(metadata, "uid")
    };
    ObjectReference {
        api_version: text(owner, "apiVersion").or_else(|| Some("v1".to_owned())),
        kind: text(owner, "kind").or_else(|| Some("Pod".to_owned())),
        name: text(owner, "name").or(name),
        namespace: Some(namespace.to_owned()),
        uid,
        ..ObjectReference::default()
    }
}

/// As much of a note as the API server takes.
fn short(mut note: String) -> String {
    let end = (0..=NOTE_BYTES_MAX.min(note.len())).rev();
    let mut ends = end.filter(|end| note.is_char_boundary(*end));
    let end = ends.next().unwrap_or_default();
    note.truncate(end);
    note
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
    let recorder = Recorder::new(client.clone(), reporter.clone());
    let deliver = async {
        while let Some(notice) = notices.recv().await {
            let sent = match &notice.name {
                Some(name) => send_once(&client, &notice.to_event(name, &reporter)).await,
                None => send(&recorder, &notice).await.map(|()| "sent"),
            };
            let outcome = *sent.as_ref().unwrap_or(&"failed");
            metrics.events.with_label_values(&[outcome]).inc();
            if let Err(error) = sent {
                let (error, note) = (net::chain(&error), notice.note);
                tracing::warn!(error, note, "an event could not be sent");
            }
        }
    };
    stop.run_until_cancelled(deliver).await;
}

async fn send(recorder: &Recorder, notice: &Notice) -> kube::Result<()> {
    let event = Event {
        type_: EventType::Warning,
        reason: notice.reason.to_owned(),
        note: Some(notice.note.clone()),
        action: ACTION.to_owned(),
        secondary: None,
    };
    recorder.publish(&event, &notice.object).await
}

/// Makes an Event that another replica may have made.
async fn send_once(client: &Client, event: &K8sEvent) -> kube::Result<&'static str> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
    let events: Api<K8sEvent> = Api::namespaced(client.clone(), namespace);
    match events.create(&PostParams::default(), event).await {
        Ok(_) => Ok("sent"),
        Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok("known"),
        Err(error) => Err(error),
    }
}
