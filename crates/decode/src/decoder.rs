//! Text of one record into fields.
//!
//! The first byte nearly always tells the dialect: `{` JSON, a digit Go's `log` or the access log,
//! a capital klog. The rest is looked at more closely: dumps, and lines glued to a text that was
//! printed without a newline.

use model::line::{Dialect, Severity, Stream};
use model::record::{Range, Record, Value};
use model::time::UnixNanos;

use crate::clf;
use crate::fields::{Buffers, Fields};
use crate::json::{self, Member, range};
use crate::marks::Marks;
use crate::multiline::is_klog;
use crate::structured;
use crate::text;

/// What rsync prints without a newline, so that the next line is glued to it.
const GLUE: &[u8] = b"Warning: apply should be used on resource created by apply";

/// Most slashes of a line that are looked at: a dump has many, and names nothing.
const SLASHES_MAX: usize = 256;

/// Reads the dialects of EMCO's containers. Holds only memory for re-use: every line is decoded on
/// its own.
#[derive(Debug, Default)]
pub struct Decoder {
    json: Json,
    buffers: Buffers,
}

/// What is known of a line as JSON.
#[derive(Debug, Default)]
struct Json {
    marks: Marks,
    members: Vec<Member>,
    inner: Vec<Member>,
}

impl Decoder {
    /// Fills `record` from `text`, which its ranges then refer to. `time` is the CRI time;
    /// `zone_offset_seconds` the container's zone (east of UTC), for dialects that print none.
    ///
    /// Never fails: what no dialect claims becomes [`Dialect::Unknown`] with the whole text as
    /// message.
    pub fn decode(
        &mut self,
        text: &[u8],
        time: UnixNanos,
        stream: Stream,
        zone_offset_seconds: i32,
        record: &mut Record,
    ) {
        record.clear();
        record.time = time;
        record.stream = stream;
        self.json.marks.read(text);
        self.json.marks.slashes(SLASHES_MAX, &mut record.slashes);
        let end = text.len() - text.iter().rev().take_while(|byte| **byte == b'\r').count();
        let json = &mut self.json;
        let ascii = json.marks.is_ascii();
        let mut fields = Fields::new(text, ascii, record, &mut self.buffers);
        let body = range(0, end);
        let claimed = known(&mut fields, body, zone_offset_seconds, json)
            || glued(&mut fields, body, zone_offset_seconds, json);
        if !claimed {
            text::unknown(&mut fields, body);
            if json.object(text, body) {
                foreign_level(&mut fields, &json.members);
            }
        }
        fields.finish();
    }
}

/// A whole record of a known dialect; false, with nothing written, if it is none.
fn known(fields: &mut Fields<'_>, body: Range, zone_offset_seconds: i32, json: &mut Json) -> bool {
    let text = body.of(fields.text);
    match text.first() {
        Some(b'{') => object(fields, body, json),
        Some(b'0'..=b'9') if text::is_go_log(text) && !text::is_dump(text) => {
            text::go_log(fields, body);
            true
        }
        _ if text::is_dump(text) => {
            text::dump(fields, body);
            true
        }
        Some(b'I' | b'W' | b'E' | b'F') if is_klog(text) => {
            text::klog(fields, body, zone_offset_seconds)
        }
        _ => common_log(fields, body),
    }
}

/// A JSON object in a known dialect, from the beginning of `body` to its end.
fn object(fields: &mut Fields<'_>, body: Range, json: &mut Json) -> bool {
    if !json.object(fields.text, body) {
        return false;
    }
    let members = &mut json.members;
    match structured::dialect(fields.text, members) {
        Some(Dialect::EnvoyAccess) => structured::access(fields, members),
        Some(dialect) => structured::log(fields, dialect, members, (&json.marks, &mut json.inner)),
        None => return false,
    }
    true
}

impl Json {
    /// Reads the object that `body` is, if it is one.
    fn object(&mut self, text: &[u8], body: Range) -> bool {
        let text = text.get(..body.end as usize).unwrap_or(text);
        json::object(text, body.start as usize, &self.marks, &mut self.members)
    }
}

/// A record that begins after a text which lacked its newline.
fn glued(fields: &mut Fields<'_>, body: Range, zone_offset_seconds: i32, json: &mut Json) -> bool {
    let text = body.of(fields.text);
    let mut start = 0;
    while text.get(start..).is_some_and(|rest| rest.starts_with(GLUE)) {
        start += GLUE.len();
    }
    let rest = range(body.start as usize + start, body.end as usize);
    let mut claimed = start > 0 && known(fields, rest, zone_offset_seconds, json);
    if !claimed && text.trim_ascii_end().ends_with(b"}") {
        let from = start.max(1);
        let brace = text
            .get(from..)
            .and_then(|tail| memchr::memmem::find(tail, b"{\""));
        if let Some(brace) = brace {
            start = from + brace;
            let rest = range(body.start as usize + start, body.end as usize);
            claimed = object(fields, rest, json);
        }
    }
    if claimed {
        let begin = body.start as usize;
        fields.plain("emco.prefix", range(begin, begin + start));
    }
    claimed
}

fn common_log(fields: &mut Fields<'_>, body: Range) -> bool {
    let text = fields.text;
    let Some(line) = clf::parse(body.of(text)) else {
        return false;
    };
    let place = |part: &str| {
        let start = part.as_ptr().addr() - text.as_ptr().addr();
        range(start, start + part.len())
    };
    fields.record.dialect = Dialect::CommonLog;
    fields.record.severity = match line.status {
        500.. => Severity::Error,
        400.. => Severity::Warn,
        _ => Severity::Info,
    };
    fields.plain("message", place(line.request));
    fields.plain("source.address", place(line.host));
    fields.plain("http.request.method", place(line.method));
    fields.plain("url.original", place(line.uri));
    fields.plain("http.version", place(line.version));
    let status = Value::Unsigned(u64::from(line.status));
    fields.schema("http.response.status_code", status);
    fields.schema("http.response.body.bytes", Value::Unsigned(line.bytes));
    if line.user != "-" {
        fields.plain("url.username", place(line.user));
    }
    true
}

/// The level of an object in no known dialect, e.g. grpc's JSON logger.
fn foreign_level(fields: &mut Fields<'_>, members: &[Member]) {
    let level = members
        .iter()
        .find(|member| matches!(member.key.of(fields.text), b"level" | b"severity"));
    if let Some(level) = level.and_then(|member| Severity::parse(member.value.of(fields.text))) {
        fields.record.severity = level;
    }
}

#[cfg(test)]
mod tests;
