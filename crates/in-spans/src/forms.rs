//! Forms of spans: what one span said is not scanned again in the next that says the same.
//!
//! An exporter writes the members of a span in the same order always, and of the bytes of most spans
//! only ids, times, annotations and the statement are new:
//!
//! ```text
//! {"timestamp":…,"duration":…,"traceId":"…","id":"…","parentId":"…",   read every time
//!  "name":"…","kind":"…","localEndpoint":{…},"remoteEndpoint":{…},      the head of the form
//!  "annotations":[…],                                                   read every time
//!  "tags":{…,"db.statement":"                                           the tail of the form
//!                            …                                          read every time
//!                             ",…}}                                     the rest of the form
//! ```
//!
//! A form is learned from a span that was scanned and found right. Where head, tail and rest of another
//! one are the same bytes, what was noted about them is true of it as well; every other byte is looked
//! at. Whatever stands there otherwise is for the scanner, which judges alone: a span is scanned to the
//! same result whether its form is known or not. Spans that failed are not learned from.

use model::ids::{SpanId, TraceId};
use model::span::Message;
use model::time::eight_digits;

use crate::json::{Scanner, unusual};
use crate::scan::{Notes, RawSpan};
use crate::text::Text;

/// Most forms that are remembered: a service makes a few kinds of calls.
const FORMS_MAX: usize = 16;
/// Forms so far in front stay where they are.
const FRONT: usize = 4;
/// Longest part of a form.
const PART_BYTES_MAX: usize = 2 << 10;

const ANNOTATIONS: &[u8; 15] = b"\"annotations\":[";
const HEAD_KEYS: [&[u8]; 4] = [
    b"\"name\":",
    b"\"kind\":",
    b"\"localEndpoint\":",
    b"\"remoteEndpoint\":",
];

/// Names a form for good, among those of one [`Forms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FormId(u64);

impl FormId {
    /// As a number; another form has another one.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// The forms that were seen last, the frequent ones in front.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    forms: Vec<Form>,
    learned: u64,
}

/// What is the same in many spans, and what is known of it.
#[derive(Clone, Debug)]
struct Form {
    id: FormId,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Behind the statement, where there is one.
    rest: Option<Vec<u8>>,
    /// Texts count from the beginning of the part they stand in.
    span: RawSpan,
    /// Whether method and service stand in the rest.
    method_in_rest: bool,
    service_in_rest: bool,
}

/// A span of a known form.
pub(crate) struct Recognised {
    pub(crate) span: RawSpan,
    pub(crate) end: usize,
    pub(crate) form: FormId,
}

impl Forms {
    /// The span at `at`, if its form is known and all of it is right. Only annotations are noted.
    pub(crate) fn recognise(
        &mut self,
        text: &[u8],
        at: usize,
        notes: &mut impl Notes,
    ) -> Option<Recognised> {
        if self.forms.is_empty() {
            return None;
        }
        let mut cursor = Cursor { text, at };
        let mut start = RawSpan::default();
        cursor.beginning(&mut start)?;
        let head_at = cursor.at;
        let mut annotated = None;
        for place in 0..self.forms.len() {
            let form = self.forms.get(place)?;
            if !begins(text, head_at, &form.head) {
                continue;
            }
            let behind_head = head_at + form.head.len();
            let tail_at = match annotated {
                Some((from, to)) if from == behind_head => to,
                _ => {
                    notes.begin();
                    cursor.at = behind_head;
                    cursor.annotations(notes)?;
                    annotated = Some((behind_head, cursor.at));
                    cursor.at
                }
            };
            let Some((span, end)) = form.span(text, &start, head_at, tail_at) else {
                continue;
            };
            let form = form.id;
            if place >= FRONT {
                self.forms.swap(place, place / 2);
            }
            return Some(Recognised { span, end, form });
        }
        None
    }

    /// Remembers the form of a span that was scanned and found right.
    pub(crate) fn learn(&mut self, text: &[u8], at: usize, end: usize, span: &RawSpan) {
        let id = FormId(self.learned + 1);
        let Some(form) = Form::of(id, text, at, end, span) else {
            return;
        };
        self.learned += 1;
        self.forms.truncate(FORMS_MAX - 1);
        self.forms.push(form);
    }
}

impl Form {
    fn of(id: FormId, text: &[u8], at: usize, end: usize, scanned: &RawSpan) -> Option<Self> {
        if scanned.says_failure() {
            return None;
        }
        let mut cursor = Cursor { text, at };
        cursor.beginning(&mut RawSpan::default())?;
        let head_at = cursor.at;
        cursor.head()?;
        let behind_head = cursor.at;
        if cursor.literal(ANNOTATIONS).is_some() {
            cursor.at -= 1;
            cursor.value()?;
            cursor.literal(b",")?;
        }
        let tail_at = cursor.at;
        cursor.literal(b"\"tags\":{")?;
        cursor.at -= 1;
        cursor.value()?;
        cursor.literal(b"}")?;
        if cursor.at != end {
            return None;
        }
        let mut span = *scanned;
        let hole = span
            .statement
            .filter(|text_of| text.get(text_of.end()) == Some(&b'"'));
        let (tail_end, rest_at) = hole.map_or((end, end), |hole| (hole.start(), hole.end()));
        let part = |from: usize, to: usize| {
            let part = text.get(from..to)?;
            (part.len() <= PART_BYTES_MAX).then(|| part.to_vec())
        };
        let in_rest = |text: Option<Text>| text.is_some_and(|text| text.start() >= rest_at);
        let (method_in_rest, service_in_rest) =
            (in_rest(span.rpc_method), in_rest(span.rpc_service));
        let from_part =
            |text: Text, in_rest| text.moved(if in_rest { rest_at } else { tail_at }, 0);
        span.name = span.name.moved(head_at, 0);
        span.service = span.service.moved(head_at, 0);
        span.rpc_method = span.rpc_method.map(|text| from_part(text, method_in_rest));
        span.rpc_service = span
            .rpc_service
            .map(|text| from_part(text, service_in_rest));
        span.statement = span.statement.map(|text| from_part(text, false));
        Some(Self {
            id,
            head: part(head_at, behind_head)?,
            tail: part(tail_at, tail_end)?,
            rest: match hole {
                Some(_) => Some(part(rest_at, end)?),
                None => None,
            },
            span,
            method_in_rest,
            service_in_rest,
        })
    }

    /// The span whose head is at `head_at`, if its tail is at `tail_at`; and where it ends.
    #[inline]
    fn span(
        &self,
        text: &[u8],
        start: &RawSpan,
        head_at: usize,
        tail_at: usize,
    ) -> Option<(RawSpan, usize)> {
        if !begins(text, tail_at, &self.tail) {
            return None;
        }
        let mut end = tail_at + self.tail.len();
        let mut rest_at = end;
        let mut statement = self.span.statement.map(|text| text.moved(0, tail_at));
        if let Some(rest) = &self.rest {
            let mut cursor = Cursor { text, at: end };
            let said = cursor.string()?;
            rest_at = said.end();
            if !begins(text, rest_at, rest) {
                return None;
            }
            statement = Some(said);
            end = rest_at + rest.len();
        }
        let part = |in_rest| if in_rest { rest_at } else { tail_at };
        let (method, service) = (part(self.method_in_rest), part(self.service_in_rest));
        let span = RawSpan {
            name: self.span.name.moved(0, head_at),
            service: self.span.service.moved(0, head_at),
            rpc_method: self.span.rpc_method.map(|text| text.moved(0, method)),
            rpc_service: self.span.rpc_service.map(|text| text.moved(0, service)),
            statement,
            kind: self.span.kind,
            ..*start
        };
        Some((span, end))
    }
}

/// A place in a text; each method steps over what it is named after, or answers nothing.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn literal<const BYTES: usize>(&mut self, literal: &[u8; BYTES]) -> Option<()> {
        let here = self.text.get(self.at..)?.first_chunk::<BYTES>()?;
        if here != literal {
            return None;
        }
        self.at += BYTES;
        Some(())
    }

    /// What is in front of the head.
    #[inline]
    fn beginning(&mut self, span: &mut RawSpan) -> Option<()> {
        self.literal(b"{")?;
        if self.literal(b"\"timestamp\":").is_some() {
            span.timestamp_micros = self.number()?;
            self.literal(b",")?;
        }
        if self.literal(b"\"duration\":").is_some() {
            span.duration_micros = self.number()?;
            self.literal(b",")?;
        }
        self.literal(b"\"traceId\":\"")?;
        span.trace = Some(TraceId::parse(self.digits([32, 16])?)?);
        self.literal(b",\"id\":\"")?;
        span.id = Some(SpanId::parse(self.digits([16, 16])?)?);
        if self.literal(b",\"parentId\":\"").is_some() {
            span.parent = Some(SpanId::parse(self.digits([16, 16])?)?);
        }
        self.literal(b",")
    }

    /// As many bytes as one of `lengths` says, and the quote behind them.
    #[inline]
    fn digits(&mut self, lengths: [usize; 2]) -> Option<&[u8]> {
        let rest = self.text.get(self.at..)?;
        let mut lengths = lengths.into_iter();
        let length = lengths.find(|length| rest.get(*length) == Some(&b'"'))?;
        self.at += length + 1;
        rest.get(..length)
    }

    /// Name, kind and endpoints, in this order.
    fn head(&mut self) -> Option<()> {
        for key in HEAD_KEYS {
            let rest = self.text.get(self.at..)?;
            if rest.starts_with(key) {
                self.at += key.len();
                self.value()?;
                self.literal(b",")?;
            } else if key == HEAD_KEYS[0] {
                return None;
            }
        }
        Some(())
    }

    fn value(&mut self) -> Option<()> {
        let mut scanner = Scanner {
            text: self.text,
            at: self.at,
            strict: false,
        };
        scanner.value().ok()?;
        self.at = scanner.at;
        Some(())
    }

    /// The annotations, if there are any; none of them says that the span failed.
    #[inline]
    fn annotations(&mut self, notes: &mut impl Notes) -> Option<()> {
        let start = self.at;
        if self.literal(ANNOTATIONS).is_none() {
            return Some(());
        }
        notes.begin_annotations();
        if self.messages(notes).is_none() {
            self.at = start + ANNOTATIONS.len() - 1;
            self.other_annotations(notes)?;
        }
        self.literal(b",")
    }

    /// What gRPC's instrumentation writes for each message.
    #[inline]
    fn messages(&mut self, notes: &mut impl Notes) -> Option<()> {
        loop {
            self.literal(b"{\"timestamp\":")?;
            let micros = self.number()?;
            self.literal(b",\"value\":\"")?;
            self.literal(b"message: {\\\"message.id\\\":")?;
            let id = self.size()?;
            self.literal(b",\\\"message.type\\\":\\\"")?;
            let sent = self.literal(b"SENT").is_some();
            if !sent {
                self.literal(b"RECEIVED")?;
            }
            // of longer literals the compiler makes a call
            self.literal(b"\\\",\\\"message.uncompress")?;
            self.literal(b"ed_size\\\":")?;
            let bytes = self.size()?;
            self.literal(b"}\"}")?;
            notes.message(micros, Message { id, sent, bytes });
            if self.literal(b"]").is_some() {
                return Some(());
            }
            self.literal(b",")?;
        }
    }

    /// Any annotations that are right; the opening bracket is in front.
    #[cold]
    fn other_annotations(&mut self, notes: &mut impl Notes) -> Option<()> {
        let mut scanner = Scanner {
            text: self.text,
            at: self.at,
            strict: false,
        };
        let mut span = RawSpan::default();
        scanner.annotations(&mut span, notes).ok()?;
        if span.says_failure() || !is_usual(self.text.get(self.at..scanner.at)?) {
            return None;
        }
        self.at = scanner.at;
        Some(())
    }

    /// The rest of a string whose opening quote is behind; its closing quote stays in front.
    fn string(&mut self) -> Option<Text> {
        let mut scanner = Scanner {
            text: self.text,
            at: self.at,
            strict: false,
        };
        let said = scanner.string().ok()?;
        if !is_usual(self.text.get(self.at..scanner.at)?) {
            return None;
        }
        Some(said)
    }

    #[inline]
    fn size(&mut self) -> Option<i64> {
        i64::try_from(self.number()?).ok()
    }

    /// A whole number as JSON writes it, of 19 digits at most.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let rest = self.text.get(self.at..)?;
        let (mut digits, mut value) = (0, 0);
        for word in rest.as_chunks::<8>().0.iter().take(2) {
            let Some(eight) = eight_digits(*word) else {
                break;
            };
            value = value * 100_000_000 + eight;
            digits += 8;
        }
        while let Some(digit @ b'0'..=b'9') = rest.get(digits).copied()
            && digits < 19
        {
            value = value * 10 + u64::from(digit - b'0');
            digits += 1;
        }
        self.at += digits;
        let plain = digits == 1 || digits > 1 && rest.first() != Some(&b'0');
        plain.then_some(value)
    }
}

/// Whether text is UTF-8 without control characters.
fn is_usual(text: &[u8]) -> bool {
    let (control, beyond_ascii) = unusual(text);
    !control && (!beyond_ascii || std::str::from_utf8(text).is_ok())
}

/// Whether `part` stands at `at`.
#[inline]
fn begins(text: &[u8], at: usize, part: &[u8]) -> bool {
    let Some(here) = text.get(at..).and_then(|rest| rest.get(..part.len())) else {
        return false;
    };
    let ((chunks, rest), (own, own_rest)) = (here.as_chunks::<32>(), part.as_chunks::<32>());
    if chunks.iter().zip(own).any(|(here, own)| here != own) {
        return false;
    }
    match (here.last_chunk::<32>(), part.last_chunk::<32>()) {
        (Some(here), Some(own)) => here == own,
        _ => rest.iter().zip(own_rest).all(|(here, own)| here == own),
    }
}
