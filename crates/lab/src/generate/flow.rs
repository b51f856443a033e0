//! One goroutine at work: a cursor in time that prints lines and waits inside client spans.
//!
//! Causality holds by construction: a line is printed at the cursor, a client span moves the cursor
//! from its start behind its end, and a flow's own span is closed over all of it. So no line lies
//! outside its request, and none inside a client span of its own goroutine.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::time::UnixNanos;
use serde_json::{Map, Value};

use super::recording::{Annotation, Endpoint, How, Ids, Line, Origin, Recording, RootSpan, Span};
use super::sites::Site;

const GRPC_LIBRARY: &str =
    "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc";
const MONGO_LIBRARY: &str =
    "go.opentelemetry.io/contrib/instrumentation/go.mongodb.org/mongo-driver/mongo/otelmongo";
/// Spans know microseconds: a moment this much later is later for everybody.
const TICK_NS: u64 = 2_000;

/// What everything is recorded into.
pub(super) struct Stage {
    pub(super) recording: Recording,
    pub(super) ids: Ids,
}

/// One goroutine that works inside a span of its own.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) service: &'static str,
    pub(super) at_ns: u64,
    pub(super) how: How,
    pub(super) origin: Option<Arc<Origin>>,
    pub(super) trace: String,
    pub(super) span: String,
    parent: Option<String>,
    start_ns: u64,
    annotations: Vec<Annotation>,
}

impl Stage {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            recording: Recording::default(),
            ids: Ids::new(fastrand::Rng::with_seed(seed)),
        }
    }
}

impl Flow {
    /// Begins work at `at_ns` in a span below `parent` of `trace`.
    pub(super) fn begin(
        stage: &mut Stage,
        service: &'static str,
        at_ns: u64,
        how: How,
        origin: Option<Arc<Origin>>,
        (trace, parent): (String, Option<String>),
    ) -> Self {
        Self {
            service,
            at_ns: at_ns + TICK_NS,
            how,
            origin,
            trace,
            span: stage.ids.span(),
            parent,
            start_ns: at_ns,
            annotations: Vec::new(),
        }
    }

    /// Another goroutine of the same span that begins now.
    pub(super) fn fork(&self) -> Self {
        self.clone()
    }

    /// Computes for a while.
    pub(super) fn work(&mut self, stage: &mut Stage, micros: std::ops::Range<u64>) {
        self.at_ns += stage.ids.micros(micros);
    }

    /// Prints through EMCO's logger.
    pub(super) fn log(&mut self, stage: &mut Stage, site: &Site, fields: &[(&str, &str)]) {
        let mut members: Map<String, Value> = Map::new();
        for (key, value) in fields {
            members.insert((*key).to_owned(), (*value).into());
        }
        self.log_members(stage, site, members);
    }

    /// Prints through EMCO's logger, with values that are no text.
    pub(super) fn log_members(
        &mut self,
        stage: &mut Stage,
        site: &Site,
        fields: Map<String, Value>,
    ) {
        // A map of its own keeps the members in the order logrus gives them, whatever `Map` does.
        let mut members: BTreeMap<String, Value> = fields.into_iter().collect();
        let source = format!("file[{}:{}] func[{}]", site.file, site.line, site.function);
        for (key, value) in [
            ("SOURCE", source),
            ("level", site.level.to_owned()),
            ("msg", site.message.to_owned()),
            ("time", go_time(self.at_ns)),
        ] {
            members.insert(key.to_owned(), value.into());
        }
        let text = serde_json::to_string(&members).unwrap_or_default();
        self.line(stage, false, text);
    }

    /// Prints through Go's own `log`.
    pub(super) fn print(&mut self, stage: &mut Stage, text: &str) {
        let time = UnixNanos(self.at_ns).to_string();
        let second = time.get(..19).unwrap_or_default();
        let text = format!("{} {text}", second.replace('-', "/").replace('T', " "));
        self.line(stage, false, text);
    }

    /// Prints a line of the access log.
    pub(super) fn common_log(
        &mut self,
        stage: &mut Stage,
        (peer, method, path): (&str, &str, &str),
        (status, bytes): (u16, usize),
    ) {
        let stamp = common_log_time(self.at_ns);
        let text = format!("{peer} - - [{stamp}] \"{method} {path} HTTP/1.1\" {status} {bytes}");
        self.line(stage, true, text);
    }

    fn line(&mut self, stage: &mut Stage, is_stdout: bool, text: String) {
        stage.recording.line(
            self.service,
            Line {
                at_ns: self.at_ns,
                is_stdout,
                text,
                how: self.how,
                origin: self.origin.clone(),
            },
        );
        self.at_ns += stage.ids.micros(5..60);
    }

    /// Waits for the document store.
    pub(super) fn find(&mut self, stage: &mut Stage, filter: &[(&str, &str)]) {
        let members: Vec<String> = filter
            .iter()
            .map(|(key, value)| format!("\"{key}\":\"{value}\""))
            .collect();
        let statement = format!(
            "{{\"find\":\"resources\",\"filter\":{{\"$and\":[{{{}}}]}},\"projection\":{{\"data\":1,\"_id\":0}},\"$db\":\"emco\"}}",
            members.join(",")
        );
        let tags = [
            ("db.mongodb.collection", "resources"),
            ("db.name", "emco"),
            ("db.operation", "find"),
            ("db.statement", statement.as_str()),
            ("db.system", "mongodb"),
            ("net.peer.name", "emco-mongo"),
            ("net.peer.port", "27017"),
            ("otel.library.name", MONGO_LIBRARY),
            ("otel.library.version", "semver:0.33.0"),
        ];
        let micros = stage.ids.micros(300..22_000);
        self.wait(stage, "resources.find", micros, &tags, false);
    }

    /// Waits for etcd: reads, or writes.
    pub(super) fn etcd(&mut self, stage: &mut Stage, method: &str) {
        let micros = stage.ids.micros(200..4_000);
        let name = format!("etcdserverpb.kv/{}", method.to_lowercase());
        self.wait(
            stage,
            &name,
            micros,
            &grpc_tags("etcdserverpb.KV", method),
            true,
        );
    }

    /// Waits for another service, which works from the answered time on; closes the span when
    /// `serve` says that the answer is there.
    pub(super) fn call(
        &mut self,
        stage: &mut Stage,
        (service, method): (&str, &str),
        serve: impl FnOnce(&mut Stage, &str, u64) -> u64,
    ) {
        self.work(stage, 5..50);
        let (start, id) = (self.at_ns, stage.ids.span());
        let sent = start + stage.ids.micros(60..200);
        let end = serve(stage, &id, sent) + stage.ids.micros(100..500);
        let name = format!("{service}/{method}").to_lowercase();
        let mut tags = tags_of(&grpc_tags(service, method), self.service);
        tags.insert("net.peer.ip", "rsync".to_owned());
        tags.insert("net.peer.port", "19031".to_owned());
        self.client_span(stage, (&name, id), (start, end), tags, true);
    }

    fn wait(
        &mut self,
        stage: &mut Stage,
        name: &str,
        nanos: u64,
        tags: &[(&'static str, &str)],
        has_messages: bool,
    ) {
        self.work(stage, 5..50);
        let (start, id) = (self.at_ns, stage.ids.span());
        let tags = tags_of(tags, self.service);
        self.client_span(
            stage,
            (name, id),
            (start, start + nanos),
            tags,
            has_messages,
        );
    }

    fn client_span(
        &mut self,
        stage: &mut Stage,
        (name, id): (&str, String),
        (start, end): (u64, u64),
        tags: BTreeMap<&'static str, String>,
        has_messages: bool,
    ) {
        let annotations = if has_messages {
            messages("SENT", start, "RECEIVED", end)
        } else {
            Vec::new()
        };
        stage.recording.span(
            self.service,
            Span {
                timestamp: start / 1000,
                duration: (end / 1000).saturating_sub(start / 1000).max(1),
                trace: self.trace.clone(),
                id,
                parent: Some(self.span.clone()),
                name: name.to_owned(),
                kind: Some("CLIENT"),
                local: endpoint(self.service),
                annotations,
                tags,
            },
        );
        self.at_ns = end + TICK_NS;
    }

    /// Marks a step of the work in its span.
    pub(super) fn annotate(&mut self, step: &str) {
        self.annotations.push(Annotation {
            timestamp: self.at_ns / 1000,
            value: step.to_owned(),
        });
        self.at_ns += TICK_NS;
    }

    /// Ends the work: closes its span now and answers when that was.
    pub(super) fn end(mut self, stage: &mut Stage, name: &str) -> u64 {
        self.at_ns += TICK_NS;
        let library = self.service;
        let tags = tags_of(&[("otel.library.name", library)], self.service);
        self.close(stage, name, None, tags)
    }

    /// Ends the work for a caller: closes a server span.
    pub(super) fn answer(mut self, stage: &mut Stage, (service, method): (&str, &str)) -> u64 {
        self.at_ns += TICK_NS;
        let name = format!("{service}/{method}").to_lowercase();
        self.annotations = messages("RECEIVED", self.start_ns, "SENT", self.at_ns);
        let tags = tags_of(&grpc_tags(service, method), self.service);
        self.close(stage, &name, Some("SERVER"), tags)
    }

    fn close(
        self,
        stage: &mut Stage,
        name: &str,
        kind: Option<&'static str>,
        tags: BTreeMap<&'static str, String>,
    ) -> u64 {
        let start = self.start_ns / 1000;
        stage.recording.span(
            self.service,
            Span {
                timestamp: start,
                duration: (self.at_ns / 1000).saturating_sub(start).max(1),
                trace: self.trace,
                id: self.span,
                parent: self.parent,
                name: name.to_lowercase(),
                kind,
                local: endpoint(self.service),
                annotations: self.annotations,
                tags,
            },
        );
        self.at_ns + TICK_NS
    }

    /// Says whose a parentless span is, and what it came from.
    pub(super) fn note_root(&self, stage: &mut Stage, name: &str, links: Vec<String>) {
        stage.recording.roots.push(RootSpan {
            service: self.service,
            name: name.to_lowercase(),
            trace: self.trace.clone(),
            span: self.span.clone(),
            start_us: self.start_ns / 1000,
            links,
            origin: self.origin.clone(),
        });
    }
}

fn grpc_tags<'a>(service: &'a str, method: &'a str) -> [(&'static str, &'a str); 6] {
    [
        ("otel.library.name", GRPC_LIBRARY),
        ("otel.library.version", "semver:0.27.0"),
        ("rpc.grpc.status_code", "0"),
        ("rpc.method", method),
        ("rpc.service", service),
        ("rpc.system", "grpc"),
    ]
}

fn tags_of(tags: &[(&'static str, &str)], service: &str) -> BTreeMap<&'static str, String> {
    let own = ("service.name", format!("{service}.emco"));
    let given = tags.iter().map(|(key, value)| (*key, (*value).to_owned()));
    given.chain([own]).collect()
}

fn endpoint(service: &str) -> Endpoint {
    Endpoint {
        name: format!("{service}.emco"),
    }
}

fn messages(first: &str, start_ns: u64, second: &str, end_ns: u64) -> Vec<Annotation> {
    [(first, start_ns / 1000 + 1), (second, end_ns / 1000)]
        .into_iter()
        .map(|(kind, timestamp)| Annotation {
            timestamp,
            value: format!(
                "message: {{\"message.id\":1,\"message.type\":\"{kind}\",\"message.uncompressed_size\":21}}"
            ),
        })
        .collect()
}

/// RFC 3339 as Go writes it: without zeros at the end of the fraction.
fn go_time(at_ns: u64) -> String {
    let time = UnixNanos(at_ns).to_string();
    let digits = time.trim_end_matches('Z').trim_end_matches('0');
    format!("{}Z", digits.trim_end_matches('.'))
}

/// `dd/Mon/yyyy:hh:mm:ss +0000`
fn common_log_time(at_ns: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = UnixNanos(at_ns).day().civil();
    let name = usize::try_from(month - 1)
        .ok()
        .and_then(|month| MONTHS.get(month));
    let second = at_ns / 1_000_000_000;
    format!(
        "{day:02}/{}/{year:04}:{:02}:{:02}:{:02} +0000",
        name.copied().unwrap_or("Jan"),
        second / 3600 % 24,
        second / 60 % 60,
        second % 60
    )
}
