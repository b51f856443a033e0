//! The dialects that are JSON: logrus with EMCO's `SOURCE`, zap, and Envoy's access log.

use model::line::{Dialect, Severity};
use model::record::{Range, Value};
use model::time::UnixNanos;

use crate::fields::Fields;
use crate::json::{self, Escapes, Kind, Member, range};
use crate::marks::Marks;
use crate::table::{Entry, Role, TABLE};
use crate::text::decimal;

/// Which dialect an object with these members speaks; looks their keys up on the way.
pub(crate) fn dialect(text: &[u8], members: &mut [Member]) -> Option<Dialect> {
    let table = &*TABLE;
    let mut roles = 0_u32;
    for member in members.iter_mut() {
        member.entry = table.get(member.key.of(text));
        roles |= member.entry.map_or(0, |entry| 1 << entry.role as u32);
    }
    let has = |role: Role| roles & 1 << role as u32 != 0;
    if has(Role::Message) && has(Role::Level) {
        if has(Role::Source) || has(Role::Time) {
            return Some(Dialect::Logrus);
        }
        return has(Role::Ts).then_some(Dialect::Zap);
    }
    let has = |key: &[u8]| members.iter().any(|member| member.key.of(text) == key);
    let access = has(b"method") && has(b"path");
    (access && (has(b"response_code") || has(b"upstream_cluster") || has(b"status")))
        .then_some(Dialect::EnvoyAccess)
}

/// logrus and zap.
pub(crate) fn log(
    fields: &mut Fields<'_>,
    dialect: Dialect,
    members: &[Member],
    inner: (&Marks, &mut Vec<Member>),
) {
    fields.record.dialect = dialect;
    let mut parameters = None;
    for member in members {
        match member.entry {
            Some(entry) if fits(entry, dialect) => {
                if entry.role == Role::Parameters {
                    parameters = Some(member.value);
                }
                known(fields, entry, member);
            }
            _ => free(fields, member),
        }
    }
    if let Some(value) = parameters {
        path_variables(fields, value, inner);
    }
}

/// Envoy's access log; what has no ECS name is kept under `emco.fields`.
pub(crate) fn access(fields: &mut Fields<'_>, members: &[Member]) {
    fields.record.dialect = Dialect::EnvoyAccess;
    let find = |key: &str| {
        members
            .iter()
            .find(|m| m.key.of(fields.text) == key.as_bytes())
    };
    let mut message = Vec::with_capacity(64);
    for part in [find("method"), find("path")].into_iter().flatten() {
        if !message.is_empty() {
            message.push(b' ');
        }
        json::unescape(part.value.of(fields.text), &mut message);
    }
    fields.computed("message", &message);
    for member in members {
        let schema = access_name(member.key.of(fields.text)).filter(|_| member.kind != Kind::Null);
        match (schema, member.kind) {
            (Some((name, false)), Kind::Text(escapes)) => {
                let value = fields.json_value(member.value, escapes, false);
                once(fields, name, value, member);
            }
            (Some((name, true)), Kind::Text(_) | Kind::Number) => {
                match decimal(member.value.of(fields.text)) {
                    Some(number) => once(fields, name, Value::Unsigned(number), member),
                    None => free(fields, member),
                }
            }
            _ => free(fields, member),
        }
    }
}

/// ECS name of an access log key, and whether its value is a number.
fn access_name(key: &[u8]) -> Option<(&'static str, bool)> {
    Some(match key {
        b"method" => ("http.request.method", false),
        b"path" => ("url.original", false),
        b"response_code" | b"status" => ("http.response.status_code", true),
        b"request_id" => ("http.request.id", false),
        b"authority" => ("url.domain", false),
        b"user_agent" => ("user_agent.original", false),
        b"bytes_received" | b"bytes_in" => ("http.request.body.bytes", true),
        b"bytes_sent" | b"bytes_out" => ("http.response.body.bytes", true),
        b"downstream_remote_address" => ("source.address", false),
        b"start_time" => ("event.start", false),
        _ => return None,
    })
}

/// Sets a schema key unless an earlier member has set it.
fn once(fields: &mut Fields<'_>, name: &'static str, value: Value, member: &Member) {
    let taken = fields
        .record
        .fields
        .iter()
        .any(|field| field.key == model::record::Key::Schema(name));
    if taken {
        free(fields, member);
    } else {
        fields.schema(name, value);
    }
}

/// Whether the entry's meaning holds in the dialect.
fn fits(entry: &Entry, dialect: Dialect) -> bool {
    match entry.role {
        Role::Time | Role::Source => dialect == Dialect::Logrus,
        Role::Ts | Role::Caller => dialect == Dialect::Zap,
        _ => true,
    }
}

/// A member whose key has a meaning; where its value has not, it becomes a free field.
fn known(fields: &mut Fields<'_>, entry: &Entry, member: &Member) {
    let done = match entry.role {
        Role::Message => message(fields, entry, member),
        Role::Level => level(fields, member),
        Role::Time => time(fields, member),
        Role::Ts => ts(fields, member),
        Role::Source => source(fields, entry, member),
        Role::Caller => caller(fields, entry, member),
        Role::Name => name(fields, entry, member),
        Role::Text | Role::Parameters => text(fields, entry, member),
        Role::Port => port(fields, entry, member),
        Role::Label => label(fields, entry, member),
        Role::Secret => secret(fields, member),
    };
    if !done {
        free(fields, member);
    }
}

fn message(fields: &mut Fields<'_>, entry: &Entry, member: &Member) -> bool {
    let Kind::Text(escapes) = member.kind else {
        return false;
    };
    if !fields.claim(entry.bit) {
        return false;
    }
    let value = fields.json_value(member.value, escapes, true);
    fields.schema(entry.name, value);
    true
}

fn level(fields: &mut Fields<'_>, member: &Member) -> bool {
    let Some(severity) = Severity::parse(member.value.of(fields.text)) else {
        return false;
    };
    fields.record.severity = severity;
    true
}

fn time(fields: &mut Fields<'_>, member: &Member) -> bool {
    let Some(time) = fields.read_time(member.value) else {
        return false;
    };
    fields.record.time = time;
    true
}

/// ISO 8601, or seconds since the epoch with a fraction.
fn ts(fields: &mut Fields<'_>, member: &Member) -> bool {
    let text = member.value.of(fields.text);
    let time = match member.kind {
        Kind::Number => epoch(text),
        _ => UnixNanos::parse_rfc3339(text),
    };
    let Some(time) = time else { return false };
    fields.record.time = time;
    true
}

fn epoch(text: &[u8]) -> Option<UnixNanos> {
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = decimal(parts.next()?)?;
    let fraction = parts.next().unwrap_or(b"0");
    let digits = fraction.get(..9).unwrap_or(fraction);
    let scale = 10_u64.pow(9 - u32::try_from(digits.len()).ok()?);
    let nanos = decimal(digits)? * scale;
    Some(UnixNanos(
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?,
    ))
}

/// `file[<base name>:<line>] func[<function>]`
fn source(fields: &mut Fields<'_>, entry: &Entry, member: &Member) -> bool {
    let Some((file, line, function)) = site(fields.text, member) else {
        return false;
    };
    if !fields.claim(entry.bit) {
        return false;
    }
    let file = fields.json_value(file, Escapes::None, true);
    fields.schema("log.origin.file.name", file);
    fields.schema("log.origin.file.line", Value::Unsigned(line));
    let function = fields.json_value(function, Escapes::None, true);
    fields.schema("log.origin.function", function);
    true
}

fn site(text: &[u8], member: &Member) -> Option<(Range, u64, Range)> {
    if member.kind != Kind::Text(Escapes::None) {
        return None;
    }
    let start = member.value.start as usize;
    let source = member.value.of(text);
    let inner = source.strip_prefix(b"file[")?.strip_suffix(b"]")?;
    let bracket = memchr::memchr(b']', inner)?;
    let (place, rest) = inner.split_at(bracket);
    let function = rest.strip_prefix(b"] func[")?;
    let colon = memchr::memrchr(b':', place)?;
    let line = decimal(place.get(colon + 1..)?)?;
    let end = start + source.len() - 1;
    Some((
        range(start + 5, start + 5 + colon),
        line,
        range(end - function.len(), end),
    ))
}

/// `v3@v3.5.5/retry_interceptor.go:62`
fn caller(fields: &mut Fields<'_>, entry: &Entry, member: &Member) -> bool {
    let (text, start) = (member.value.of(fields.text), member.value.start as usize);
    let split = memchr::memrchr(b':', text)
        .and_then(|colon| Some((colon, decimal(text.get(colon + 1..)?)?)));
    let (Some((colon, line)), Kind::Text(Escapes::None)) = (split, member.kind) else {
        return false;
    };
    if !fields.claim(entry.bit) {
        return false;
    }
    let file = fields.json_value(range(start, start + colon), Escapes::None, true);
    fields.schema("log.origin.file.name", file);
    fields.schema("log.origin.file.line", Value::Unsigned(line));
    true
}

fn name(fields: &mut Fields<'_>, entry: &Entry, member: &Member) -> bool {
    if matches!(member.kind, Kind::Null | Kind::Nested) || !fields.claim(entry.bit) {
        return false;
    }
    let value = string(fields, member);
    fields.schema(entry.name, value);
    true
}

/// A value as a string: a JSON string's content, anything else as it is written.
#[inline]
fn string(fields: &mut Fields<'_>, member: &Member) -> Value {
    match member.kind {
        Kind::Text(escapes) => fields.json_value(member.value, escapes, true),
        Kind::True => Value::Static("true"),
        Kind::False => Value::Static("false"),
        Kind::Number => Value::Plain(member.value),
        Kind::Null => Value::Null,
        Kind::Nested => fields.plain_value(member.value),
    }
}

fn text(fields: &mut Fields<'_>, entry: &Entry, member: &Member) -> bool {
    if member.kind == Kind::Null || !fields.claim(entry.bit) {
        return false;
    }
    let value = string(fields, member);
    fields.schema(entry.name, value);
    true
}

fn port(fields: &mut Fields<'_>, entry: &Entry, member: &Member) -> bool {
    let number = decimal(member.value.of(fields.text)).filter(|port| *port <= 65_535);
    let Some(number) = number else { return false };
    if !fields.claim(entry.bit) {
        return false;
    }
    fields.schema(entry.name, Value::Unsigned(number));
    true
}

/// `<AppContext id>-<app>`
fn label(fields: &mut Fields<'_>, entry: &Entry, member: &Member) -> bool {
    let text = member.value.of(fields.text);
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let shaped = digits >= 10 && text.get(digits) == Some(&b'-');
    shaped && matches!(member.kind, Kind::Text(_)) && name(fields, entry, member)
}

fn secret(fields: &mut Fields<'_>, member: &Member) -> bool {
    if member.kind == Kind::Null || member.value.start == member.value.end {
        return false;
    }
    let value = fields.masked();
    let raw = member.key.of(fields.text);
    fields.free(raw, value);
    true
}

/// Path variables become names of the line, where it does not state them itself.
fn path_variables(
    fields: &mut Fields<'_>,
    value: Range,
    (marks, members): (&Marks, &mut Vec<Member>),
) {
    let text = fields.text.get(..value.end as usize).unwrap_or_default();
    if !json::object(text, value.start as usize, marks, members) {
        return;
    }
    for member in members.iter() {
        if let Some(entry) = TABLE.get(member.key.of(text))
            && entry.role == Role::Name
        {
            name(fields, entry, member);
        }
    }
}

/// A member without a meaning.
pub(crate) fn free(fields: &mut Fields<'_>, member: &Member) {
    let value = match member.kind {
        Kind::Text(escapes) => fields.json_value(member.value, escapes, false),
        Kind::Number => Value::Number(member.value),
        Kind::True => Value::Bool(true),
        Kind::False => Value::Bool(false),
        Kind::Null => Value::Null,
        Kind::Nested => fields.plain_value(member.value),
    };
    let raw = member.key.of(fields.text);
    fields.free(raw, value);
}
