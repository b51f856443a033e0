//! The few facts of a record that the ledger needs.
//!
//! Names narrow the candidates, so only those whose meaning is certain count:
//! a bare `version`, a `cluster` that may be a reference, or what a metrics poller left in its map
//! from the round before are fields of the record and no names.

use std::sync::LazyLock;

use memchr::memmem::{Finder, find};
use model::line::{AccessLine, Dialect, LineFacts, Name, NameKey, Site};
use model::record::{Field, Key, Record, Value};
use model::time::UnixNanos;

use crate::clf;

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

static HANDLE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"/context/"));
/// What the names of EMCO's temporary directories and files begin with.
static TEMPORARY: LazyLock<[Finder<'static>; 3]> =
    LazyLock::new(|| ["/helm-tmpl-", "/k8s-ext-", "/rsync-config-"].map(Finder::new));

/// Room for the names of one line; cheap to make anew for each.
#[derive(Clone, Copy, Debug)]
pub struct FactBuf<'a> {
    names: [Name<'a>; NAMES_MAX],
    length: usize,
}

impl Default for FactBuf<'_> {
    fn default() -> Self {
        const NONE: Name<'_> = Name {
            key: NameKey::Token,
            value: "",
        };
        Self {
            names: [NONE; NAMES_MAX],
            length: 0,
        }
    }
}

impl<'a> FactBuf<'a> {
    fn add(&mut self, key: NameKey, value: &'a str) {
        let used = self.names.get(..self.length).unwrap_or_default();
        if value.is_empty() || used.contains(&Name { key, value }) {
            return;
        }
        if let Some(free) = self.names.get_mut(self.length) {
            *free = Name { key, value };
            self.length += 1;
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
    buffer.length = 0;
    let own_time =
        matches!(record.dialect, Dialect::Logrus | Dialect::Klog) && record.time != arrival;
    let (mut site, mut message) = (NO_SITE, "");
    for field in &record.fields {
        let Key::Schema(key) = field.key else { break };
        match key {
            "message" => message = shortened(string(field, record, text)),
            "log.origin.file.name" => site.file = string(field, record, text),
            "log.origin.function" => site.function = string(field, record, text),
            "log.origin.file.line" => {
                if let Value::Unsigned(line) = field.value {
                    site.line = u32::try_from(line).unwrap_or(0);
                }
            }
            _ => {}
        }
    }
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
        names: buffer.names.get(..buffer.length).unwrap_or_default(),
        access: (record.dialect == Dialect::CommonLog)
            .then(|| access(text))
            .flatten(),
    }
}

const NO_SITE: Site<'_> = Site {
    file: "",
    line: 0,
    function: "",
};

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
    let value = string(field, record, text);
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
        "deployment_intent_group" => NameKey::DeploymentIntentGroup,
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
        | "related_app_context_id" => {
            buffer.add(NameKey::AppContext, id(value));
            return;
        }
        "app_context_label" => {
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
    buffer.add(name, value);
}

/// Free fields name nothing but handles, directories, and ids under a key that says so.
fn free_names<'a>(field: &Field, value: &'a str, record: &Record, buffer: &mut FactBuf<'a>) {
    if value.len() < ID_DIGITS_MIN {
        return;
    }
    if let Key::Free(key) = field.key
        && value.len() < 20
        && value.bytes().all(|byte| byte.is_ascii_digit())
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
fn paths<'a>(value: &'a str, buffer: &mut FactBuf<'a>) {
    let value = floor(value, SEARCH_BYTES_MAX);
    let Some(slash) = memchr::memchr(b'/', value.as_bytes()) else {
        return;
    };
    let Some(mut rest) = value.get(slash..) else {
        return;
    };
    while let Some(at) = HANDLE.find(rest.as_bytes()) {
        let Some(after) = rest.get(at + 9..) else {
            break;
        };
        buffer.add(NameKey::AppContext, id(after));
        rest = after;
    }
    if let Some(paths) = value.get(slash..) {
        for shape in TEMPORARY.iter() {
            tokens(paths, shape, buffer);
        }
    }
}

/// Names of temporary directories and files: `helm-tmpl-1816907225`.
fn tokens<'a>(value: &'a str, shape: &Finder<'_>, buffer: &mut FactBuf<'a>) {
    for at in shape.find_iter(value.as_bytes()) {
        let Some(segment) = value.get(at + 1..) else {
            return;
        };
        let ends = |byte| matches!(byte, b'/' | b'"' | b' ' | b'\\' | b',' | b':');
        let length = segment.bytes().position(ends).unwrap_or(segment.len());
        let segment = segment.get(..length).unwrap_or_default();
        let digits = segment.bytes().rev().take_while(u8::is_ascii_digit).count();
        if digits >= TOKEN_DIGITS_MIN {
            buffer.add(NameKey::Token, segment);
        }
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
    if (ID_DIGITS_MIN..20).contains(&digits) {
        text.get(..digits).unwrap_or_default()
    } else {
        ""
    }
}

/// `name+Kind`; anything else under these keys may be a whole manifest.
fn is_resource(value: &str) -> bool {
    let kind = value.rsplit_once('+').map(|(_, kind)| kind);
    value.len() <= 512
        && kind.is_some_and(|kind| {
            kind.starts_with(|first: char| first.is_ascii_uppercase())
                && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// Whether a version stands under a key that any kind of version may have.
fn is_bare_version(field: &Field, text: &[u8]) -> bool {
    let Value::Escaped(range) = field.value else {
        return true;
    };
    text.get(..range.start as usize).is_some_and(|before| {
        before.ends_with(b"\"version\":\"") || before.ends_with(b"\"Version\":\"")
    })
}

/// A field's value as text; empty where it has none.
fn string<'a>(field: &Field, record: &'a Record, text: &'a [u8]) -> &'a str {
    let bytes = match field.value {
        Value::Escaped(range) | Value::Plain(range) | Value::Number(range) => range.of(text),
        Value::Scratch(range) => range.of(&record.scratch),
        Value::Static(text) => return text,
        _ => return "",
    };
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn shortened(message: &str) -> &str {
    floor(message, MESSAGE_BYTES_MAX)
}

fn floor(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}
