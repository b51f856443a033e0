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
const TEMPORARY: [&[u8]; 3] = [b"helm-tmpl-", b"k8s-ext-", b"rsync-config-"];

/// Room for the names of one line; cheap to make anew for each.
#[derive(Clone, Debug, Default)]
pub struct FactBuf<'a> {
    names: Vec<Name<'a>>,
}

impl<'a> FactBuf<'a> {
    fn add(&mut self, key: NameKey, value: &'a str) {
        let name = Name { key, value };
        if value.is_empty() || self.names.len() >= NAMES_MAX || self.names.contains(&name) {
            return;
        }
        if self.names.capacity() == 0 {
            self.names = Vec::with_capacity(NAMES_MAX / 2);
        }
        self.names.push(name);
    }
}

/// The facts of a decoded line. `text` is what was decoded, `arrival` the CRI time.
pub fn facts<'b, 'a: 'b>(
    record: &'a Record,
    text: &'a [u8],
    arrival: UnixNanos,
    buffer: &'b mut FactBuf<'a>,
) -> LineFacts<'b> {
    buffer.names.clear();
    let own_time =
        matches!(record.dialect, Dialect::Logrus | Dialect::Klog) && record.time != arrival;
    let (site, message) = site_and_message(record, text);
    // Pollers re-use one map of fields: what it holds may be left from the round before.
    if !site.function.starts_with("metrics.") {
        for field in &record.fields {
            names(field, &site, record, text, buffer);
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
        names: &buffer.names,
        access: (record.dialect == Dialect::CommonLog)
            .then(|| access(text))
            .flatten(),
    }
}

/// Where the line was printed, and what it says.
fn site_and_message<'a>(record: &'a Record, text: &'a [u8]) -> (Site<'a>, &'a str) {
    let (mut file, mut line, mut function, mut message) = (&b""[..], 0, &b""[..], &b""[..]);
    for field in &record.fields {
        match field.key {
            Key::Schema("log.origin.file.name") => file = bytes(field, record, text),
            Key::Schema("log.origin.function") => function = bytes(field, record, text),
            Key::Schema("log.origin.file.line") => {
                if let Value::Unsigned(number) = field.value {
                    line = u32::try_from(number).unwrap_or(0);
                }
            }
            Key::Schema("message") => message = bytes(field, record, text),
            _ => {}
        }
    }
    let site = Site {
        file: utf8(file),
        line,
        function: utf8(function),
    };
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
fn names<'a>(
    field: &Field,
    site: &Site<'_>,
    record: &'a Record,
    text: &'a [u8],
    buffer: &mut FactBuf<'a>,
) {
    let value = bytes(field, record, text);
    let Key::Schema(key) = field.key else {
        free_names(field, value, record, buffer);
        return;
    };
    let Some(rest) = key.strip_prefix("emco.") else {
        if matches!(key, "message" | "error.message") {
            paths(value, buffer);
        }
        return;
    };
    let name = match rest {
        "project" => NameKey::Project,
        "composite_app" => NameKey::CompositeApp,
        "composite_app_version" if !is_bare_version(field, text) => NameKey::CompositeAppVersion,
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
            paths(value, buffer);
            return;
        }
    };
    // What was masked or replaced is not what the line says.
    let changed = matches!(field.value, Value::Scratch(_))
        && (find(value, MASK.as_bytes()).is_some() || find(value, "\u{fffd}".as_bytes()).is_some());
    if !changed {
        buffer.add(name, utf8(value));
    }
}

/// Free fields name nothing but handles, directories, and ids under a key that says so.
fn free_names<'a>(field: &Field, value: &'a [u8], record: &Record, buffer: &mut FactBuf<'a>) {
    if value.len() < ID_DIGITS_MIN {
        return;
    }
    if let Key::Free(key) = field.key
        && value.len() < 20
        && value.iter().all(u8::is_ascii_digit)
    {
        let key = key.of(&record.scratch);
        let says = find(key, b"context").is_some() || key.ends_with(b"cid");
        if says && !matches!(field.value, Value::Number(_)) {
            buffer.add(NameKey::AppContext, id(value));
        }
        return;
    }
    paths(value, buffer);
}

/// `AppContext` ids in handles and tokens in paths.
fn paths<'a>(value: &'a [u8], buffer: &mut FactBuf<'a>) {
    let value = value.get(..SEARCH_BYTES_MAX).unwrap_or(value);
    for slash in memchr::memchr_iter(b'/', value) {
        let rest = value.get(slash + 1..).unwrap_or_default();
        match rest.first() {
            Some(b'c') => {
                if let Some(handle) = rest.strip_prefix(b"context/") {
                    buffer.add(NameKey::AppContext, id(handle));
                }
            }
            Some(b'h' | b'k' | b'r') if TEMPORARY.iter().any(|shape| rest.starts_with(shape)) => {
                token(rest, buffer);
            }
            _ => {}
        }
    }
}

/// The name of a temporary directory or file: `helm-tmpl-1816907225`.
fn token<'a>(path: &'a [u8], buffer: &mut FactBuf<'a>) {
    let ends = |byte: &u8| matches!(byte, b'/' | b'"' | b' ' | b'\\' | b',' | b':');
    let length = path.iter().position(ends).unwrap_or(path.len());
    let segment = path.get(..length).unwrap_or_default();
    let random = segment
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit());
    if random.count() >= TOKEN_DIGITS_MIN {
        buffer.add(NameKey::Token, utf8(segment));
    }
}

/// `GRPC Server received installAppRequest:  {"app_context":"123"}`
fn grpc_request<'a>(message: &'a str, buffer: &mut FactBuf<'a>) {
    if !message.starts_with("GRPC Server received ") {
        return;
    }
    for (at, _) in message.match_indices("ontext\":\"") {
        if let Some(after) = message.get(at + 9..) {
            buffer.add(NameKey::AppContext, id(after.as_bytes()));
        }
    }
}

/// The decimal id that `text` begins with, or nothing.
fn id(text: &[u8]) -> &str {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.get(..digits) {
        Some(id) if (ID_DIGITS_MIN..20).contains(&digits) => utf8(id),
        _ => "",
    }
}

/// `name+Kind`; anything else under these keys may be a whole manifest.
fn is_resource(value: &[u8]) -> bool {
    let kind = memchr::memrchr(b'+', value).and_then(|plus| value.get(plus + 1..));
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

/// A field's value as text; empty where it has none.
fn bytes<'a>(field: &Field, record: &'a Record, text: &'a [u8]) -> &'a [u8] {
    match field.value {
        Value::Clean(range)
        | Value::Escaped(range)
        | Value::Plain(range)
        | Value::Number(range) => range.of(text),
        Value::Scratch(range) => range.of(&record.scratch),
        Value::Static(text) => text.as_bytes(),
        _ => b"",
    }
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// At most so many bytes of a text, whole characters.
fn start(text: &[u8], bytes: usize) -> &str {
    let text = text.get(..bytes).unwrap_or(text);
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => utf8(text.get(..error.valid_up_to()).unwrap_or_default()),
    }
}
