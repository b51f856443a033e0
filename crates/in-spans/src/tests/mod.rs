//! What the receiver promises, from the scanner up to the socket.

mod corpus;
mod forms;
mod journal;
mod scan;
mod server;
mod whole;

use std::sync::{Arc, Mutex};

use model::evidence::{SpanFacts, SpanKind};
use model::time::UnixNanos;

use crate::journal::{Journal, JournalError, SpanSink};

/// A span as a sink can keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) trace: String,
    pub(super) span: String,
    pub(super) parent: Option<String>,
    pub(super) kind: SpanKind,
    pub(super) name: String,
    pub(super) rpc_method: Option<String>,
    pub(super) rpc_service: Option<String>,
    pub(super) service: String,
    pub(super) statement: Option<String>,
    pub(super) start: u64,
    pub(super) duration: u64,
    pub(super) failed: bool,
}

impl From<&SpanFacts<'_>> for Seen {
    fn from(span: &SpanFacts<'_>) -> Self {
        Self {
            trace: span.trace.to_string(),
            span: span.span.to_string(),
            parent: span.parent.map(|id| id.to_string()),
            kind: span.kind,
            name: span.name.to_owned(),
            rpc_method: span.rpc_method.map(str::to_owned),
            rpc_service: span.rpc_service.map(str::to_owned),
            service: span.service.to_owned(),
            statement: span.statement.map(str::to_owned),
            start: span.start.0,
            duration: span.duration,
            failed: span.failed,
        }
    }
}

/// What happened, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Kept { kind: u8, payload: Vec<u8> },
    Span(Seen),
    EndOfPiece,
    Gap,
}

/// Journal and sink in one, so that their order can be seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) events: Arc<Mutex<Vec<Event>>>,
    pub(super) full: Arc<Mutex<bool>>,
}

impl Log {
    pub(super) fn spans(&self) -> Vec<Seen> {
        let events = self.events.lock().unwrap();
        let span = |event: &Event| match event {
            Event::Span(span) => Some(span.clone()),
            _ => None,
        };
        events.iter().filter_map(span).collect()
    }

    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let events = self.events.lock().unwrap();
        let kind = |event: &Event| match event {
            Event::Kept { kind: 1, .. } => "keep spans",
            Event::Kept { .. } => "keep gap",
            Event::Span(_) => "span",
            Event::EndOfPiece => "end of piece",
            Event::Gap => "gap",
        };
        events.iter().map(kind).collect()
    }

    fn push(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

impl Journal for Log {
    fn append(&mut self, kind: u8, _at: UnixNanos, payload: &[u8]) -> Result<(), JournalError> {
        if *self.full.lock().unwrap() {
            return Err(JournalError::Full);
        }
        let payload = payload.to_vec();
        self.push(Event::Kept { kind, payload });
        Ok(())
    }
}

impl SpanSink for Log {
    fn span(&mut self, span: &SpanFacts<'_>) {
        self.push(Event::Span(span.into()));
    }

    fn end_of_piece(&mut self) {
        self.push(Event::EndOfPiece);
    }

    fn gap(&mut self, _from: UnixNanos, _to: UnixNanos) {
        self.push(Event::Gap);
    }
}

/// A span in EMCO's own shape.
pub(super) fn emco_span(number: u64) -> String {
    format!(
        r#"{{"timestamp":{},"duration":505,"traceId":"463ac35c9f6413ad{number:016x}","id":"{:016x}","parentId":"0b3a7befa8da94ff","name":"installapp/installapp","kind":"CLIENT","localEndpoint":{{"serviceName":"orchestrator.emco"}},"annotations":[{{"timestamp":1795395032340630,"value":"message: {{\"message.id\":1}}"}}],"tags":{{"net.peer.ip":"rsync","rpc.grpc.status_code":"0","rpc.method":"InstallApp","rpc.service":"installapp","rpc.system":"grpc","service.name":"orchestrator.emco"}}}}"#,
        1_795_395_032_340_544 + number,
        number + 1
    )
}

/// A body of spans in EMCO's own shape.
pub(super) fn emco_body(numbers: std::ops::Range<u64>) -> String {
    let spans: Vec<String> = numbers.map(emco_span).collect();
    format!("[{}]", spans.join(","))
}
