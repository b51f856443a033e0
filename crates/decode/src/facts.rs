//! The few facts of a record that the ledger needs.
//!
//! Names narrow the candidates, so only those whose meaning is certain count:
//! a bare `version`, a `cluster` that may be a reference, or what a metrics poller left in its map
//! from the round before are fields of the record and no names.

use memchr::memmem::find;
use model::line::{AccessLine, Dialect, LineFacts, Name, NameKey, Site};
use model::record::{Field, Key, Record, Value};
use model::time::UnixNanos;

use crate::clf;
use crate::secrets::MASK;

/// Most names one line states; further ones would only narrow more.
const NAMES_MAX: usize = 16;
/// Longest message the ledger is shown.
const MESSAGE_BYTES_MAX: usize = 1024;
/// How much of one value is searched for handles and temporary directories.
const SEARCH_BYTES_MAX: usize = 16 << 10;
/// Fewest digits of an `AppContext` id (63-bit random numbers; 10 digits leave one in a thousand
/// million out).
const ID_DIGITS_MIN: usize = 10;
/// Fewest random digits at the end of a temporary directory's name.
const TOKEN_DIGITS_MIN: usize = 6;

/// What the names of EMCO's temporary directories and files begin with.
const TEMPORARY: [&str; 3] = ["helm-tmpl-", "k8s-ext-", "rsync-config-"];

/// Room for the names of one line; cheap to make anew for each.
#[derive(Clone, Debug)]
pub struct FactBuf<'a> {
    names: [Name<'a>; NAMES_MAX],
    count: usize,
}

impl Default for FactBuf<'_> {
    fn default() -> Self {
        let nothing = Name {
            key: NameKey::Token,
            value: "",
        };
        Self {
            names: [nothing; NAMES_MAX],
            count: 0,
        }
    }
}

impl<'a> FactBuf<'a> {
    fn add(&mut self, key: NameKey, value: &'a str) {
        let name = Name { key, value };
        if value.is_empty() || self.names().contains(&name) {
            return;
        }
        if let Some(free) = self.names.get_mut(self.count) {
            *free = name;
            self.count += 1;
        }
    }

    fn names(&self) -> &[Name<'a>] {
        self.names.get(..self.count).unwrap_or_default()
    }
}

/// A record with its text, which is looked at once whether it is valid UTF-8 as a whole: nearly every
/// one is.
#[derive(Clone, Copy)]
struct Source<'a> {
    record: &'a Record,
    bytes: &'a [u8],
    text: Option<&'a str>,
}

impl<'a> Source<'a> {
    /// A field's value as text; empty where it has none.
    fn value(&self, field: &Field) -> &'a str {
        match field.value {
            Value::Clean(range)
            | Value::Escaped(range)
            | Value::Plain(range)
            | Value::Number(range) => match self.text {
                Some(text) => text
                    .get(range.start as usize..range.end as usize)
                    .unwrap_or_default(),
                None => utf8(range.of(self.bytes)),
            },
            Value::Scratch(range) => utf8(range.of(&self.record.scratch)),
            Value::Static(text) => text,
            _ => "",
        }
    }

    /// Adds the ids in handles and the tokens in paths that stand in a field's value.
    fn paths(&self, field: &Field, value: &'a str, buffer: &mut FactBuf<'a>) {
        let behind = |slash: usize| value.get(slash + 1..).unwrap_or_default();
        if let Value::Clean(range) | Value::Escaped(range) | Value::Plain(range) = field.value {
            let slashes = self.record.slashes.iter();
            let inside = slashes.filter(|slash| (range.start..range.end).contains(slash));
            inside.for_each(|slash| path(behind((slash - range.start) as usize), buffer));
        } else {
            let value = start(value, SEARCH_BYTES_MAX);
            memchr::memchr_iter(b'/', value.as_bytes())
                .for_each(|slash| path(behind(slash), buffer));
        }
    }
}

/// The facts of a decoded line. `text` is what was decoded, `arrival` the CRI time.
pub fn facts<'b, 'a: 'b>(
    record: &'a Record,
    text: &'a [u8],
    arrival: UnixNanos,
    buffer: &'b mut FactBuf<'a>,
) -> LineFacts<'b> {
    buffer.count = 0;
    let source = Source {
        record,
        bytes: text,
        text: std::str::from_utf8(text).ok(),
    };
    let own_time =
        matches!(record.dialect, Dialect::Logrus | Dialect::Klog) && record.time != arrival;
    let (site, message) = site_and_message(&source);
    // Pollers re-use one map of fields: what it holds may be left from the round before.
    if !site.function.starts_with("metrics.") {
        for field in &record.fields {
            names(field, &site, &source, buffer);
        }
        if record.dialect == Dialect::GoLog {
            grpc_request(message, buffer);
        }
    }
    LineFacts {
        time: if own_time { record.time } else { arrival },
        own_time,
        arrival,
        dialect: record.dialect,
        stream: record.stream,
        severity: record.severity,
        site: (!site.file.is_empty()).then_some(site),
        message,
        names: buffer.names(),
        access: (record.dialect == Dialect::CommonLog)
            .then(|| access(text))
            .flatten(),
    }
}

/// Where the line was printed, and what it says.
fn site_and_message<'a>(source: &Source<'a>) -> (Site<'a>, &'a str) {
    let mut site = Site {
        file: "",
        line: 0,
        function: "",
    };
    let mut message = "";
    for field in &source.record.fields {
        match field.key {
            Key::Schema("log.origin.file.name") => site.file = source.value(field),
            Key::Schema("log.origin.function") => site.function = source.value(field),
            Key::Schema("log.origin.file.line") => {
                if let Value::Unsigned(number) = field.value {
                    site.line = u32::try_from(number).unwrap_or(0);
                }
            }
            Key::Schema("message") => message = source.value(field),
            _ => {}
        }
    }
    (site, start(message, MESSAGE_BYTES_MAX))
}

fn access(text: &[u8]) -> Option<AccessLine<'_>> {
    let line = clf::parse(text)?;
    Some(AccessLine {
        method: line.method,
        path: line.uri,
        status: line.status,
        bytes: line.bytes,
        started: line.started,
    })
}

/// Adds what one field names.
fn names<'a>(field: &Field, site: &Site<'_>, source: &Source<'a>, buffer: &mut FactBuf<'a>) {
    let value = source.value(field);
    let Key::Schema(key) = field.key else {
        free_names(field, value, source, buffer);
        return;
    };
    let Some(rest) = key.strip_prefix("emco.") else {
        if matches!(key, "message" | "error.message") {
            source.paths(field, value, buffer);
        }
        return;
    };
    let name = match rest {
        "project" => NameKey::Project,
        "composite_app" => NameKey::CompositeApp,
        "composite_app_version" if !is_bare_version(field, source.bytes) => {
            NameKey::CompositeAppVersion
        }
        // A migration makes the context of its target here, under its source's request.
        "deployment_intent_group" if !site.function.ends_with("makeAppContextForCompositeApp") => {
            NameKey::DeploymentIntentGroup
        }
        "logical_cloud" => NameKey::LogicalCloud,
        "cluster_provider" => NameKey::ClusterProvider,
        // In this file of dcm the key holds the name of the cluster reference.
        "cluster" if site.file != "client.go" || !site.function.starts_with("module.") => {
            NameKey::Cluster
        }
        "app" => NameKey::App,
        "app_context_id"
        | "source_app_context_id"
        | "target_app_context_id"
        | "related_app_context_id"
        | "app_context_label" => {
            buffer.add(NameKey::AppContext, id(value));
            return;
        }
        "resource" if is_resource(value) => NameKey::Resource,
        "namespace" => NameKey::Namespace,
        "controller" => NameKey::Controller,
        _ => {
            source.paths(field, value, buffer);
            return;
        }
    };
    // What was masked or replaced is not what the line says.
    let changed = matches!(field.value, Value::Scratch(_))
        && (value.contains(MASK) || value.contains('\u{fffd}'));
    if !changed {
        buffer.add(name, value);
    }
}

/// Free fields name nothing but handles, directories, and ids under a key that says so.
fn free_names<'a>(field: &Field, value: &'a str, source: &Source<'a>, buffer: &mut FactBuf<'a>) {
    if value.len() < ID_DIGITS_MIN {
        return;
    }
    if let Key::Free(key) = field.key
        && value.len() < 20
        && value.bytes().all(|byte| byte.is_ascii_digit())
    {
        let key = key.of(&source.record.scratch);
        let says = find(key, b"context").is_some() || key.ends_with(b"cid");
        if says && !matches!(field.value, Value::Number(_)) {
            buffer.add(NameKey::AppContext, id(value));
        }
        return;
    }
    source.paths(field, value, buffer);
}

/// The `AppContext` id of a handle or the token of a path, whose slash is in front of `rest`.
fn path<'a>(rest: &'a str, buffer: &mut FactBuf<'a>) {
    match rest.as_bytes().first() {
        Some(b'c') => {
            if let Some(handle) = rest.strip_prefix("context/") {
                buffer.add(NameKey::AppContext, id(handle));
            }
        }
        Some(b'h' | b'k' | b'r') if TEMPORARY.iter().any(|shape| rest.starts_with(shape)) => {
            token(rest, buffer);
        }
        _ => {}
    }
}

/// The name of a temporary directory or file: `helm-tmpl-1816907225`.
fn token<'a>(path: &'a str, buffer: &mut FactBuf<'a>) {
    let ends = ['/', '"', ' ', '\\', ',', ':'];
    let segment = path.split(ends).next().unwrap_or_default();
    let digits = segment.bytes().rev();
    let random = digits.take_while(u8::is_ascii_digit).count();
    if random >= TOKEN_DIGITS_MIN {
        buffer.add(NameKey::Token, segment);
    }
}

/// `GRPC Server received installAppRequest:  {"app_context":"123"}`
fn grpc_request<'a>(message: &'a str, buffer: &mut FactBuf<'a>) {
    if !message.starts_with("GRPC Server received ") {
        return;
    }
    for (at, _) in message.match_indices("ontext\":\"") {
        if let Some(after) = message.get(at + 9..) {
            buffer.add(NameKey::AppContext, id(after));
        }
    }
}

/// The decimal id that `text` begins with, or nothing.
fn id(text: &str) -> &str {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    match text.get(..digits) {
        Some(id) if (ID_DIGITS_MIN..20).contains(&digits) => id,
        _ => "",
    }
}

/// `name+Kind`; anything else under these keys may be a whole manifest.
fn is_resource(value: &str) -> bool {
    let kind = value.rsplit_once('+').map(|(_, kind)| kind.as_bytes());
    value.len() <= 512
        && kind.is_some_and(|kind| {
            kind.first().is_some_and(u8::is_ascii_uppercase)
                && kind.iter().all(u8::is_ascii_alphanumeric)
        })
}

/// Whether a version stands under a key that any kind of version may have.
fn is_bare_version(field: &Field, text: &[u8]) -> bool {
    let (Value::Clean(range) | Value::Escaped(range)) = field.value else {
        return true;
    };
    text.get(..range.start as usize).is_some_and(|before| {
        before.ends_with(b"\"version\":\"") || before.ends_with(b"\"Version\":\"")
    })
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// At most so many bytes of a text, whole characters.
fn start(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}
