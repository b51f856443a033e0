//! What an output encodes: a line or a request, with its verdict and the constants of its origin.
//!
//! [`Document::visit`] is the one place that says which fields a document has and in which order;
//! outputs only say how a field is written ([`Visitor`]).

use crate::ids::DocumentId;
use crate::record::{Field, Key, Record, Run, Value};
use crate::time::{Day, UnixNanos};
use crate::verdict::{Outcome, Rule, Verdict};

/// Fields that are the same for every line of one container file, e.g. `service.name`,
/// `kubernetes.pod.name`, `log.file.path`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constants {
    /// Differs between any two sets of constants of one process, so that encoders can keep them
    /// encoded.
    pub revision: u64,
    /// Name and value.
    pub fields: Vec<(&'static str, String)>,
}

/// The end of one request as one service saw it; immutable, one per request and service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestSummary {
    /// `http` or `grpc`.
    pub protocol: &'static str,
    /// HTTP method, or the gRPC service.
    pub method: String,
    /// Raw path without query, or the gRPC method.
    pub path: String,
    /// Route template where one matched, e.g. `/v2/projects/{project}`.
    pub route: Option<String>,
    /// HTTP status; 0 if not known.
    pub status: u16,
    /// When it began.
    pub start: UnixNanos,
    /// Nanoseconds.
    pub duration: u64,
    /// Path parameters and the `AppContext` it acted on: `(field name, value)`.
    pub names: Vec<(&'static str, String)>,
    /// How many lines were attributed to it in this service by the time it ended.
    pub lines: u64,
    /// Whether a span or an access line says it failed.
    pub failed: bool,
}

/// What the document describes.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// A log line: its record and the text the record's ranges refer to.
    Line(&'a Record, &'a [u8]),
    /// A request that ended.
    Request(&'a RequestSummary),
}

/// One document, ready to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// Its identity in every store.
    pub id: DocumentId,
    /// The day whose index it lives in; never depends on when it is sent.
    pub home: Day,
    /// Its `@timestamp`.
    pub time: UnixNanos,
    /// Tie-breaker for order within one file (`event.sequence`): the offset of its first byte.
    pub sequence: u64,
    /// What it describes.
    pub body: Body<'a>,
    /// Whom it belongs to.
    pub verdict: &'a Verdict,
    /// What is constant for its origin.
    pub constants: &'a Constants,
}

/// Writes fields in some encoding: a key, then its value. No key comes twice.
pub trait Visitor {
    /// The dotted ECS name of the field whose value comes next.
    fn key(&mut self, key: &'static str);
    /// The same for a field that the schema does not know; its name is in `[a-z0-9_]`.
    fn free_key(&mut self, key: Run<'_>);
    /// A string.
    fn string(&mut self, value: &str);
    /// A run that is known to be valid UTF-8; an encoding that copies it need not look again.
    fn text(&mut self, value: Run<'_>) {
        self.string(std::str::from_utf8(value.bytes()).unwrap_or_default());
    }
    /// The same, and it reads the same inside a JSON string.
    fn clean(&mut self, value: Run<'_>) {
        self.text(value);
    }
    /// The inside of a JSON string: valid UTF-8 with valid escapes.
    fn escaped(&mut self, value: &[u8]);
    /// A number in JSON's syntax.
    fn number(&mut self, value: &[u8]);
    /// An unsigned integer.
    fn unsigned(&mut self, value: u64);
    /// A boolean.
    fn boolean(&mut self, value: bool);
    /// Nothing.
    fn null(&mut self);
    /// Keys and values out of a few that come again and again; may be kept encoded.
    fn words(&mut self, words: &[(&'static str, &'static str)]) {
        for (key, value) in words {
            self.key(key);
            self.string(value);
        }
    }
    /// A time; what is the same as in the one before may be kept written.
    fn time(&mut self, time: UnixNanos) {
        self.string(ascii(&time.rfc3339()));
    }
    /// A list of strings.
    fn strings(&mut self, values: &[String]);
    /// Keys and values that are constant for the origin; may be kept encoded by revision.
    fn constants(&mut self, constants: &Constants) {
        for (key, value) in &constants.fields {
            self.key(key);
            self.string(value);
        }
    }
    /// Opens an object; fields up to [`Visitor::end`] belong to it.
    fn begin(&mut self);
    /// Closes the object.
    fn end(&mut self);
}

/// Appends `bytes` in moves of fixed sizes, which the compiler inlines: encoders append mostly a few
/// bytes at a time, and calling a C library's `memcpy` for each costs more than the copy. Beginning
/// and end are taken whole and overlap; what is too long is cut off again.
#[inline]
pub fn push_short(out: &mut Vec<u8>, bytes: &[u8]) {
    let end = out.len() + bytes.len();
    match bytes.len() {
        0 => {}
        1..4 => {
            let [middle, last] = [bytes.len() / 2, bytes.len() - 1];
            let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0)) << (8 * at);
            out.extend_from_slice(&(byte(0) | byte(middle) | byte(last)).to_le_bytes());
        }
        4..8 => {
            if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
                let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
                let whole = first | last << (8 * (bytes.len() - 4));
                out.extend_from_slice(&whole.to_le_bytes());
            }
        }
        8..16 => {
            if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
                let [first, last] = [first, last].map(|half| u128::from(u64::from_le_bytes(*half)));
                let whole = first | last << (8 * (bytes.len() - 8));
                out.extend_from_slice(&whole.to_le_bytes());
            }
        }
        16..32 => push_blocks::<16>(out, bytes),
        32..64 => push_blocks::<32>(out, bytes),
        64..1024 => push_blocks::<64>(out, bytes),
        _ => out.extend_from_slice(bytes),
    }
    out.truncate(end);
}

/// Appends at least `N` bytes in blocks of `N`; the last block overlaps the one before.
#[inline]
fn push_blocks<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
    let (blocks, rest) = bytes.as_chunks::<N>();
    for block in blocks {
        out.extend_from_slice(block);
    }
    if let Some(last) = bytes.last_chunk::<N>()
        && !rest.is_empty()
    {
        out.truncate(out.len() + rest.len() - N);
        out.extend_from_slice(last);
    }
}

impl Document<'_> {
    /// Shows every field of the document to `visitor`, in the order of the schema.
    pub fn visit(&self, visitor: &mut impl Visitor) {
        visitor.key("@timestamp");
        visitor.time(self.time);
        visitor.constants(self.constants);
        visitor.key("event.id");
        visitor.clean(self.id.text().run());
        visitor.key("event.sequence");
        visitor.unsigned(self.sequence);
        match self.body {
            Body::Line(record, line) => visit_line(record, line, visitor),
            Body::Request(request) => visit_request(request, visitor),
        }
        visit_verdict(self.verdict, visitor);
        if let Body::Line(record, line) = self.body {
            visit_free(record, line, visitor);
        }
    }
}

fn ascii(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

fn visit_line(record: &Record, line: &[u8], visitor: &mut impl Visitor) {
    let stream = match record.stream {
        crate::line::Stream::Stdout => "stdout",
        crate::line::Stream::Stderr => "stderr",
    };
    visitor.words(&[
        ("log.level", record.severity.name()),
        ("emco.dialect", record.dialect.name()),
        ("stream", stream),
    ]);
    for field in &record.fields {
        if let Key::Schema(key) = field.key {
            visitor.key(key);
            visit_value(field, record, line, visitor);
        }
    }
    if record.masked > 0 {
        visitor.key("emco.redacted");
        visitor.unsigned(u64::from(record.masked));
    }
}

fn visit_free(record: &Record, line: &[u8], visitor: &mut impl Visitor) {
    let is_free = |field: &Field| matches!(field.key, Key::Free(_));
    // they come last
    if !record.fields.last().is_some_and(is_free) {
        return;
    }
    visitor.key("emco.fields");
    visitor.begin();
    for field in &record.fields {
        if let Key::Free(range) = field.key {
            visitor.free_key(Run::new(&record.scratch, range));
            visit_value(field, record, line, visitor);
        }
    }
    visitor.end();
}

fn visit_value(field: &Field, record: &Record, line: &[u8], visitor: &mut impl Visitor) {
    match field.value {
        Value::Clean(range) => visitor.clean(Run::new(line, range)),
        Value::Escaped(range) => visitor.escaped(range.of(line)),
        Value::Plain(range) => visitor.text(Run::new(line, range)),
        Value::Scratch(range) => visitor.text(Run::new(&record.scratch, range)),
        Value::Number(range) => visitor.number(range.of(line)),
        Value::Unsigned(value) => visitor.unsigned(value),
        Value::Bool(value) => visitor.boolean(value),
        Value::Null => visitor.null(),
        Value::Static(value) => visitor.string(value),
    }
}

fn visit_request(request: &RequestSummary, visitor: &mut impl Visitor) {
    string("event.kind", "event", visitor);
    string("event.action", "request", visitor);
    string("network.protocol", request.protocol, visitor);
    let (method, path) = match request.protocol {
        "grpc" => ("rpc.service", "rpc.method"),
        _ => ("http.request.method", "url.path"),
    };
    string(method, &request.method, visitor);
    string(path, &request.path, visitor);
    if let Some(route) = &request.route {
        string("http.route", route, visitor);
    }
    if request.status > 0 {
        visitor.key("http.response.status_code");
        visitor.unsigned(u64::from(request.status));
    }
    string("event.start", ascii(&request.start.rfc3339()), visitor);
    visitor.key("event.duration");
    visitor.unsigned(request.duration);
    let outcome = if request.failed { "failure" } else { "success" };
    string("event.outcome", outcome, visitor);
    visitor.key("emco.request.lines");
    visitor.unsigned(request.lines);
    for (key, value) in &request.names {
        string(key, value, visitor);
    }
}

fn string(key: &'static str, value: &str, visitor: &mut impl Visitor) {
    visitor.key(key);
    visitor.string(value);
}

fn visit_verdict(verdict: &Verdict, visitor: &mut impl Visitor) {
    if let Some(trace) = verdict.trace {
        visitor.key("trace.id");
        visitor.clean(Run::whole(trace.hex().as_flattened()));
    }
    if let Some(span) = verdict.span {
        visitor.key("span.id");
        visitor.clean(Run::whole(span.hex().as_flattened()));
    }
    if let Some(user) = &verdict.user {
        string("user.id", &user.id, visitor);
        string("emco.user.source", user.source.name(), visitor);
    }
    let outcome = ("emco.attribution.outcome", verdict.outcome.name());
    match verdict.rule {
        Rule::None => visitor.words(&[outcome]),
        rule => visitor.words(&[outcome, ("emco.attribution.rule", rule.name())]),
    }
    if verdict.outcome == Outcome::Ambiguous && !verdict.candidates.is_empty() {
        let candidates: Vec<String> = verdict.candidates.iter().map(ToString::to_string).collect();
        visitor.key("emco.attribution.candidates");
        visitor.strings(&candidates);
    }
    if let Some((trace, user)) = &verdict.inferred {
        string("emco.inferred.trace.id", &trace.to_string(), visitor);
        if let Some(user) = user {
            string("emco.inferred.user.id", &user.id, visitor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_runs_are_appended_as_they_are() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1_100).collect();
        for length in 0..bytes.len() {
            let mut out = vec![0xaa];
            push_short(&mut out, &bytes[..length]);
            assert_eq!(out[0], 0xaa);
            assert_eq!(&out[1..], &bytes[..length]);
        }
    }
}
