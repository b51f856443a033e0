//! A validating scanner over one JSON object that is a span.
//!
//! Every byte is checked against JSON's grammar once, and nothing is built: of the few values that
//! are evidence it notes the parsed id or number, or where the string stands. Everything else (most
//! tags, annotations, endpoints, unknown keys) is stepped over.
//!
//! Lenient where senders differ: keys in any order, unknown keys, missing timestamp or duration,
//! ids with dropped leading zeros, `null` for anything, numbers as tags, numbers written as strings.
//! A key that comes twice counts with its last value.

use model::evidence::{SpanFacts, SpanKind};
use model::ids::{SpanId, TraceId};
use model::time::UnixNanos;

use crate::error::{Fault, FaultKind};

/// Deepest nesting inside a span.
const DEPTH_MAX: u32 = 127;

/// Where a string stands, without its quotes, and whether it has escapes; small enough to be returned
/// in registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Text {
    start: u32,
    /// Twice the end, plus 1 if there are escapes.
    end: u32,
}

/// What was noted about one span; positions count from the start of the run it was scanned in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSpan {
    trace: Option<TraceId>,
    id: Option<SpanId>,
    parent: Option<SpanId>,
    kind: SpanKind,
    name: Text,
    service: Text,
    rpc_method: Option<Text>,
    rpc_service: Option<Text>,
    statement: Option<Text>,
    timestamp_micros: u64,
    duration_micros: u64,
    failed: bool,
}

/// Room for strings that had to be unescaped; re-used from span to span.
#[derive(Debug, Default)]
pub struct SpanScratch {
    texts: [String; 5],
}

impl RawSpan {
    /// Whether the span has a trace id and an id of its own; without them it is no evidence.
    pub const fn has_ids(&self) -> bool {
        self.trace.is_some() && self.id.is_some()
    }

    /// The span as evidence, borrowed from the `run` it was scanned in, or from `scratch` where a
    /// string has escapes. `None` if an id is missing.
    pub fn facts<'a>(&self, run: &'a [u8], scratch: &'a mut SpanScratch) -> Option<SpanFacts<'a>> {
        let [name, service, method, rpc_service, statement] = &mut scratch.texts;
        Some(SpanFacts {
            trace: self.trace?,
            span: self.id?,
            parent: self.parent,
            kind: self.kind,
            name: self.name.resolve(run, name),
            rpc_method: self.rpc_method.map(|text| text.resolve(run, method)),
            rpc_service: self.rpc_service.map(|text| text.resolve(run, rpc_service)),
            service: self.service.resolve(run, service),
            statement: self.statement.map(|text| text.resolve(run, statement)),
            start: UnixNanos::from_micros(self.timestamp_micros),
            duration: self.duration_micros.saturating_mul(1000),
            failed: self.failed,
        })
    }
}

impl Text {
    // The splitter keeps its buffer below 16 MiB, so positions fit.
    #[inline]
    fn new(start: usize, end: usize, escaped: bool) -> Self {
        let position = |at| u32::try_from(at).unwrap_or(u32::MAX / 2);
        Self {
            start: position(start),
            end: position(end) << 1 | u32::from(escaped),
        }
    }

    #[inline]
    const fn is_escaped(self) -> bool {
        self.end & 1 == 1
    }

    #[inline]
    fn bytes(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..(self.end >> 1) as usize)
            .unwrap_or_default()
    }

    // The scanner has checked that every span is UTF-8, so the default never replaces anything.
    fn resolve<'a>(self, run: &'a [u8], scratch: &'a mut String) -> &'a str {
        let text = std::str::from_utf8(self.bytes(run)).unwrap_or_default();
        if !self.is_escaped() {
            return text;
        }
        scratch.clear();
        unescape(text, scratch);
        scratch
    }

    /// Shows the meaning of the string to `see`.
    #[inline]
    fn with<R>(self, text: &[u8], see: impl FnOnce(&[u8]) -> R) -> R {
        if self.is_escaped() {
            let mut plain = String::new();
            unescape(&String::from_utf8_lossy(self.bytes(text)), &mut plain);
            return see(plain.as_bytes());
        }
        see(self.bytes(text))
    }
}

/// Scans the object that starts at `at` (its `{`) and returns what it says and where it ends.
///
/// # Errors
/// [`FaultKind::End`] if `text` ends before the object does: with more bytes it may still be valid.
/// Everything else is final.
pub(crate) fn scan_span(text: &[u8], at: usize) -> Result<(RawSpan, usize), Fault> {
    let mut scanner = Scanner { text, at };
    let mut span = RawSpan::default();
    let scanned = scanner
        .expect(b'{', Stop::Object)
        .and_then(|()| scanner.members(|scanner, key| scanner.span_member(key, &mut span)));
    if let Err(stop) = scanned {
        return Err(fault(scanner.at, stop.kind()));
    }
    let object = text.get(at..scanner.at).unwrap_or_default();
    if let Err(error) = std::str::from_utf8(object) {
        return Err(fault(at + error.valid_up_to(), FaultKind::Text));
    }
    Ok((span, scanner.at))
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn span_member(&mut self, key: &[u8], span: &mut RawSpan) -> Result<(), Stop> {
        match key {
            b"traceId" => span.trace = self.id(TraceId::parse)?,
            b"id" => span.id = self.id(SpanId::parse)?,
            b"parentId" => span.parent = self.id(SpanId::parse)?,
            b"name" => span.name = self.text_value()?.unwrap_or_default(),
            b"kind" => {
                let kind = self.text_value()?.unwrap_or_default();
                span.kind = kind.with(self.text, |kind| match kind {
                    b"CLIENT" => SpanKind::Client,
                    b"SERVER" => SpanKind::Server,
                    _ => SpanKind::Unset,
                });
            }
            b"timestamp" => span.timestamp_micros = self.micros()?,
            b"duration" => span.duration_micros = self.micros()?,
            b"localEndpoint" if self.peek()? == b'{' => {
                self.at += 1;
                self.members(|scanner, key| {
                    if key == b"serviceName" {
                        span.service = scanner.text_value()?.unwrap_or_default();
                        return Ok(());
                    }
                    scanner.value()
                })?;
            }
            b"tags" if self.peek()? == b'{' => {
                self.at += 1;
                self.members(|scanner, key| scanner.tag(key, span))?;
            }
            b"annotations" if self.peek()? == b'[' => self.annotations(span)?,
            _ => self.value()?,
        }
        Ok(())
    }

    #[inline]
    fn tag(&mut self, key: &[u8], span: &mut RawSpan) -> Result<(), Stop> {
        match key {
            b"rpc.method" => span.rpc_method = self.text_value()?,
            b"rpc.service" => span.rpc_service = self.text_value()?,
            b"db.statement" => span.statement = self.text_value()?,
            b"error" => {
                let says = self.text_value()?;
                span.failed |=
                    says.is_some_and(|says| says.with(self.text, |says| says != b"false"));
            }
            b"otel.status_code" => {
                let code = self.text_value()?.unwrap_or_default();
                span.failed |= code.with(self.text, |code| code.eq_ignore_ascii_case(b"error"));
            }
            _ => self.value()?,
        }
        Ok(())
    }

    /// A handler that panicked says so only in an annotation that begins with `exception`.
    fn annotations(&mut self, span: &mut RawSpan) -> Result<(), Stop> {
        self.at += 1;
        self.elements(|scanner| {
            if scanner.peek()? != b'{' {
                return scanner.value();
            }
            scanner.at += 1;
            scanner.members(|scanner, key| {
                if key != b"value" {
                    return scanner.value();
                }
                let value = scanner.text_value()?.unwrap_or_default();
                span.failed |= value.bytes(scanner.text).starts_with(b"exception");
                Ok(())
            })
        })
    }

    fn id<I>(&mut self, parse: impl Fn(&[u8]) -> Option<I>) -> Result<Option<I>, Stop> {
        let id = self.text_value()?;
        Ok(id.and_then(|id| id.with(self.text, parse)))
    }

    /// Steps over members of an object whose `{` is behind; `member` steps over each value.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let text: &'a [u8] = self.text;
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            self.expect(b'"', Stop::Key)?;
            let key = self.string()?;
            self.space();
            self.expect(b':', Stop::Colon)?;
            self.space();
            key.with(text, |key| member(self, key))?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::ObjectGoesOn),
            }
        }
    }

    /// Steps over elements of an array whose `[` is behind; `element` steps over each value.
    fn elements(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            element(self)?;
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Stop::ArrayGoesOn),
            }
        }
    }

    /// A string, or a number or boolean taken as the text it is written with. Nothing else is text.
    fn text_value(&mut self) -> Result<Option<Text>, Stop> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(Some)
            }
            b'{' | b'[' | b'n' => self.value().map(|()| None),
            _ => {
                let start = self.at;
                self.value()?;
                Ok(Some(Text::new(start, self.at, false)))
            }
        }
    }

    /// Microseconds, written as a number or as a string; 0 for what is no time.
    fn micros(&mut self) -> Result<u64, Stop> {
        let text = self.text_value()?.unwrap_or_default();
        let text = std::str::from_utf8(text.bytes(self.text)).unwrap_or_default();
        if let Ok(micros) = text.parse() {
            return Ok(micros);
        }
        let micros: f64 = text.parse().unwrap_or_default();
        // The cast saturates, and turns what is negative or no number into 0.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturating is meant"
        )]
        Ok(micros as u64)
    }

    /// Steps over any value.
    #[inline]
    fn value(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'"' {
            self.at += 1;
            return self.string().map(drop);
        }
        self.nested_value()
    }

    /// Steps over any value, without recursion.
    fn nested_value(&mut self) -> Result<(), Stop> {
        let mut depth = 0_u32;
        // One bit a level: 1 = object.
        let mut objects = 0_u128;
        loop {
            self.space();
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    self.space();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek()? == close {
                        self.at += 1;
                    } else {
                        if depth == DEPTH_MAX {
                            return Err(Stop::Depth);
                        }
                        depth += 1;
                        objects = objects << 1 | u128::from(open == b'{');
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                b'-' | b'0'..=b'9' => self.number()?,
                _ => return Err(Stop::Value),
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.space();
                let object = objects & 1 == 1;
                match (self.peek()?, object) {
                    (b',', true) => {
                        self.at += 1;
                        self.space();
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.at += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        depth -= 1;
                        objects >>= 1;
                    }
                    _ => return Err(Stop::GoesOn),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), Stop> {
        self.expect(b'"', Stop::Key)?;
        self.string()?;
        self.space();
        self.expect(b':', Stop::Colon)
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), Stop> {
        for byte in literal {
            self.expect(*byte, Stop::Literal)?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek()?, b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit. A number inside an object always has a byte behind it.
    fn digits(&mut self) -> Result<(), Stop> {
        if !self.peek()?.is_ascii_digit() {
            return Err(Stop::Digit);
        }
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// The rest of a string whose opening quote is behind.
    #[inline]
    fn string(&mut self) -> Result<Text, Stop> {
        let start = self.at;
        let mut escaped = false;
        loop {
            while let Some(word) = self.text.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
                let stops = stops(u64::from_le_bytes(*word));
                if stops != 0 {
                    self.at += stops.trailing_zeros() as usize / 8;
                    break;
                }
                self.at += 8;
            }
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(Text::new(start, self.at - 1, escaped));
                }
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                0..0x20 => return Err(Stop::Text),
                _ => self.at += 1,
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<(), Stop> {
        match self.peek()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek()?.is_ascii_hexdigit() {
                        return Err(Stop::Text);
                    }
                    self.at += 1;
                }
            }
            _ => return Err(Stop::Text),
        }
        Ok(())
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Result<u8, Stop> {
        match self.text.get(self.at) {
            Some(byte) => Ok(*byte),
            None => Err(Stop::End),
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, stop: Stop) -> Result<(), Stop> {
        if self.peek()? != byte {
            return Err(stop);
        }
        self.at += 1;
        Ok(())
    }
}

/// Why the scanner stopped, in a byte: it is returned from everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    End,
    Text,
    Depth,
    Object,
    Key,
    Colon,
    Value,
    Literal,
    Digit,
    ObjectGoesOn,
    ArrayGoesOn,
    GoesOn,
}

impl Stop {
    const fn kind(self) -> FaultKind {
        FaultKind::Expected(match self {
            Self::End => return FaultKind::End,
            Self::Text => return FaultKind::Text,
            Self::Depth => return FaultKind::Depth,
            Self::Object => "an object",
            Self::Key => "a key in quotes",
            Self::Colon => "a colon",
            Self::Value => "a value",
            Self::Literal => "true, false or null",
            Self::Digit => "a digit",
            Self::ObjectGoesOn => "a comma or the end of the object",
            Self::ArrayGoesOn => "a comma or the end of the array",
            Self::GoesOn => "a comma or the end of the value around it",
        })
    }
}

const fn fault(at: usize, kind: FaultKind) -> Fault {
    Fault {
        at: at as u64,
        kind,
    }
}

/// Marks (with its highest bit) the first byte of a little-endian word at which a string cannot just
/// go on: a quote, a backslash or a control character. Marks above the first may be wrong.
#[inline]
const fn stops(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH
}

/// Appends the meaning of the inside of a valid JSON string. Lone surrogates become U+FFFD.
fn unescape(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let mut characters = behind.chars();
        let plain = match characters.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (character, after) = unescape_unit(characters.as_str());
                out.push(character);
                rest = after;
                continue;
            }
            Some(itself) => itself,
            None => break,
        };
        out.push(plain);
        rest = characters.as_str();
    }
    out.push_str(rest);
}

/// The character that `\u` followed by `digits` means, and what follows it.
fn unescape_unit(digits: &str) -> (char, &str) {
    let Some((unit, after)) = hex_unit(digits) else {
        return (char::REPLACEMENT_CHARACTER, digits);
    };
    if let Some(character) = char::from_u32(unit) {
        return (character, after);
    }
    let low = after.strip_prefix("\\u").and_then(hex_unit);
    if let (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, after))) = (unit, low) {
        let scalar = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        let character = char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER);
        return (character, after);
    }
    (char::REPLACEMENT_CHARACTER, after)
}

fn hex_unit(text: &str) -> Option<(u32, &str)> {
    let (digits, after) = text.split_at_checked(4)?;
    Some((u32::from_str_radix(digits, 16).ok()?, after))
}
