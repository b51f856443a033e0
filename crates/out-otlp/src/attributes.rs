//! Tags as attributes under the names of the conventions.
//!
//! | tag | attribute |
//! |---|---|
//! | `rpc.*`, `db.*` | as they are; codes as numbers, `db.statement` masked and shortened |
//! | `net.peer.name`, `net.peer.ip`, `net.peer.port` | `server.address`, `server.port`; of a server span `client.*` |
//! | `net.transport` | `network.transport` |
//! | `http.method`, `http.status_code`, `http.url`, `http.protocol` | `http.request.method`, `http.response.status_code`, `url.full`, `network.protocol.version` |
//! | `user_agent`, `request_size`, `response_size`, `peer.address` | `user_agent.original`, `http.request.body.size`, `http.response.body.size`, `network.peer.address` |
//! | `service.name`, `otel.*`, `error` | resource, scope and status |
//! | others | as they are, masked and shortened |

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::evidence::SpanKind;
use model::span::Span;
use model::time::UnixNanos;
use opentelemetry::{Key, KeyValue, Value};

use crate::lookup::Lookup;
use crate::names::Words;

/// The tag and attribute of a statement.
pub(crate) const STATEMENT: &str = "db.statement";
/// Longest value of an attribute in bytes.
const VALUE_BYTES_MAX: usize = 1 << 10;
/// Longest word of a library in bytes.
const WORD_BYTES_MAX: usize = 64;
/// Longest statement in bytes.
const STATEMENT_BYTES_MAX: usize = 2 << 10;
/// So much of a long text is searched for secrets: what is shown is the beginning of it.
const SEARCHED: usize = 4;
const CUT: &str = "…";

/// How a tag becomes an attribute.
enum As {
    /// A word of a library: nothing is hidden in it, unless somebody else sent it.
    Word(&'static str),
    /// Text from elsewhere.
    Text(&'static str),
    /// A whole number.
    Number(&'static str),
    /// A statement.
    Statement,
    /// It is said elsewhere.
    Nothing,
    /// Nobody knows it.
    Unknown,
}

/// The attributes that the span's tags are.
pub(crate) fn attributes(
    span: &Span<'_>,
    words: &mut Words,
    lookup: &dyn Lookup,
    out: &mut Vec<KeyValue>,
) {
    let serves = span.kind == SpanKind::Server;
    for (key, value) in &span.tags {
        let attribute = match known(key, serves) {
            As::Word(name) if is_word(value) => KeyValue::new(name, word(name, value)),
            As::Word(name) => KeyValue::new(name, word(name, &clean(key, value, lookup))),
            As::Text(name) => KeyValue::new(name, clean(key, value, lookup).into_owned()),
            As::Number(name) => KeyValue::new(name, number(key, value, lookup)),
            As::Statement => KeyValue::new(STATEMENT, statement(value, lookup)),
            As::Nothing => continue,
            As::Unknown => {
                let value = clean(key, value, lookup).into_owned();
                KeyValue::new(Key::from(words.keep(key, lookup)), value)
            }
        };
        out.push(attribute);
    }
    if !span.remote.is_empty() {
        let peer = clean("peer.service", &span.remote, lookup);
        out.push(KeyValue::new("peer.service", word("", &peer)));
    }
}

fn known(key: &str, serves: bool) -> As {
    match key {
        "rpc.system" => As::Word("rpc.system"),
        "rpc.service" => As::Word("rpc.service"),
        "rpc.method" => As::Word("rpc.method"),
        "rpc.grpc.status_code" => As::Number("rpc.grpc.status_code"),
        "db.system" => As::Word("db.system"),
        "db.name" => As::Word("db.name"),
        "db.operation" => As::Word("db.operation"),
        "db.mongodb.collection" => As::Word("db.mongodb.collection"),
        STATEMENT => As::Statement,
        "net.peer.name" | "net.peer.ip" if serves => As::Word("client.address"),
        "net.peer.name" | "net.peer.ip" => As::Word("server.address"),
        "net.peer.port" if serves => As::Number("client.port"),
        "net.peer.port" => As::Number("server.port"),
        "net.transport" => As::Word("network.transport"),
        "http.method" => As::Word("http.request.method"),
        "http.status_code" => As::Number("http.response.status_code"),
        "http.url" => As::Text("url.full"),
        "http.protocol" => As::Word("network.protocol.version"),
        "user_agent" => As::Text("user_agent.original"),
        "request_size" => As::Number("http.request.body.size"),
        "response_size" => As::Number("http.response.body.size"),
        "peer.address" => As::Word("network.peer.address"),
        "service.name"
        | "otel.library.name"
        | "otel.library.version"
        | "otel.status_code"
        | "error" => As::Nothing,
        _ => As::Unknown,
    }
}

/// A statement, masked and shortened.
pub(crate) fn statement(text: &str, lookup: &dyn Lookup) -> Value {
    let text = clean_to(STATEMENT, text, STATEMENT_BYTES_MAX, lookup);
    text.into_owned().into()
}

fn word(name: &str, value: &str) -> Value {
    if let Some(usual) = usual(value) {
        return usual.into();
    }
    let value = match name {
        "network.transport" => value.strip_prefix("ip_").unwrap_or(value),
        "network.protocol.version" => value.strip_prefix("HTTP/").unwrap_or(value),
        _ => value,
    };
    shortened(value, VALUE_BYTES_MAX).into_owned().into()
}

/// Words that are in nearly every span, so that nothing is copied for them.
pub(crate) fn usual(word: &str) -> Option<&'static str> {
    Some(match word {
        "grpc" => "grpc",
        "etcdserverpb.KV" => "etcdserverpb.KV",
        "Range" => "Range",
        "Put" => "Put",
        "DeleteRange" => "DeleteRange",
        "mongodb" => "mongodb",
        "emco" => "emco",
        "resources" => "resources",
        "find" => "find",
        "findAndModify" => "findAndModify",
        "update" => "update",
        "emco-mongo" => "emco-mongo",
        "ip_tcp" => "tcp",
        _ => return None,
    })
}

/// Whether it is too plain and too short for a secret to be recognised in it.
fn is_word(value: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    value.len() <= WORD_BYTES_MAX && value.bytes().all(plain)
}

fn number(key: &str, value: &str, lookup: &dyn Lookup) -> Value {
    match value.parse::<i64>() {
        Ok(number) => number.into(),
        Err(_) => clean(key, value, lookup).into_owned().into(),
    }
}

/// A value without secrets, not too long.
pub(crate) fn clean<'a>(key: &str, text: &'a str, lookup: &dyn Lookup) -> Cow<'a, str> {
    clean_to(key, text, VALUE_BYTES_MAX, lookup)
}

/// A value without secrets, not longer than `bytes_max`.
fn clean_to<'a>(key: &str, text: &'a str, bytes_max: usize, lookup: &dyn Lookup) -> Cow<'a, str> {
    let searched = text
        .get(..text.floor_char_boundary(bytes_max * SEARCHED))
        .unwrap_or_default();
    match lookup.redact(key, searched) {
        Some(masked) if masked.len() <= bytes_max && searched.len() == text.len() => {
            Cow::Owned(masked)
        }
        Some(masked) => Cow::Owned(cut(&masked, bytes_max)),
        None => shortened(text, bytes_max),
    }
}

fn shortened(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    Cow::Owned(cut(text, bytes_max))
}

fn cut(text: &str, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max.saturating_sub(CUT.len()));
    [text.get(..end).unwrap_or_default(), CUT].concat()
}

/// A moment as the library writes it.
pub(crate) fn time(at: UnixNanos) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(at.0)
}
