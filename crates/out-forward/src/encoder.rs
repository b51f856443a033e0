//! Documents as entries of a `PackedForward` message: `[EventTime, record]`.
//!
//! ```text
//! 92            array of two
//! d7 00 sec:u32 ns:u32            EventTime: extension type 0, eight bytes, big-endian
//! de count:u16 (key value)*       record: the count is filled in when the last field is written
//! ```
//! Later versions of the protocol know a third element with metadata; receivers in the field throw
//! such entries away and acknowledge them, so it is never written.

use model::document::{Constants, Document, Visitor, push_short};
use model::record::Run;
use model::time::{TimeWriter, UnixNanos};
use pipeline::output::Encoder;

use crate::keys::Keys;
use crate::msgpack;

/// Sets of constants that are kept encoded: a pod has a handful.
const CACHED_MAX: usize = 64;
/// Of words: there are few levels, dialects, streams, outcomes and rules.
const WORD_SLOTS: usize = 64;

/// Encodes documents as entries.
#[derive(Debug, Default)]
pub struct ForwardEncoder {
    keys: Keys,
    /// By revision; so few that a look through them is the fastest search.
    constants: Vec<(u64, Encoded)>,
    words: Words,
    outer: Vec<Map>,
    text: Vec<u8>,
    times: TimeWriter,
}

/// A key and its value.
type Word = (&'static str, &'static str);

/// Groups of words that were encoded. Two that want the same slot take it in turns.
#[derive(Debug, Default)]
struct Words(Vec<(Vec<Word>, Encoded)>);

/// Pairs of a map.
#[derive(Clone, Debug, Default)]
struct Encoded {
    pairs: u32,
    bytes: Vec<u8>,
}

/// A map whose last field was not written yet.
#[derive(Clone, Copy, Debug)]
struct Map {
    header: usize,
    pairs: u32,
}

impl ForwardEncoder {
    /// An encoder with nothing cached.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Encoder for ForwardEncoder {
    fn encode(&mut self, document: &Document<'_>, out: &mut Vec<u8>) {
        let seconds = u32::try_from(document.time.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let nanos = u32::try_from(document.time.0 % 1_000_000_000).unwrap_or(0);
        out.extend_from_slice(&[0x92, 0xd7, 0x00]);
        out.extend_from_slice(&seconds.to_be_bytes());
        out.extend_from_slice(&nanos.to_be_bytes());
        self.outer.clear();
        let map = Map::open(out);
        let mut fields = Fields {
            encoder: self,
            out,
            map,
        };
        document.visit(&mut fields);
        fields.close_all();
    }
}

/// Writes the fields of one document.
struct Fields<'a> {
    encoder: &'a mut ForwardEncoder,
    out: &'a mut Vec<u8>,
    /// The innermost map.
    map: Map,
}

impl Map {
    fn open(out: &mut Vec<u8>) -> Self {
        let header = out.len();
        out.extend_from_slice(&[0xde, 0, 0]);
        Self { header, pairs: 0 }
    }

    fn close(self, out: &mut Vec<u8>) {
        let [b3, b2, b1, b0] = self.pairs.to_be_bytes();
        let header = self.header..self.header.saturating_add(3).min(out.len());
        if let Some(place) = out.get_mut(header.clone())
            && self.pairs < 65_536
        {
            place.copy_from_slice(&[0xde, b1, b0]);
        } else {
            out.splice(header, [0xdf, b3, b2, b1, b0]);
        }
    }
}

impl Fields<'_> {
    fn close_all(mut self) {
        while let Some(outer) = self.encoder.outer.pop() {
            self.map.close(self.out);
            self.map = outer;
        }
        self.map.close(self.out);
    }
}

impl Visitor for Fields<'_> {
    fn key(&mut self, key: &'static str) {
        self.map.pairs += 1;
        self.encoder.keys.push(self.out, key);
    }

    fn free_key(&mut self, key: Run<'_>) {
        self.map.pairs += 1;
        msgpack::push_run(self.out, key);
    }

    fn string(&mut self, value: &str) {
        msgpack::push_str(self.out, value.as_bytes());
    }

    fn text(&mut self, value: Run<'_>) {
        msgpack::push_run(self.out, value);
    }

    fn escaped(&mut self, value: &[u8]) {
        self.encoder.text.clear();
        unescape(value, &mut self.encoder.text);
        msgpack::push_str(self.out, &self.encoder.text);
    }

    fn words(&mut self, words: &[Word]) {
        let encoded = self.encoder.words.of(words);
        push_short(self.out, &encoded.bytes);
        self.map.pairs += encoded.pairs;
    }

    fn time(&mut self, time: UnixNanos) {
        msgpack::push_str(self.out, self.encoder.times.write(time));
    }

    fn number(&mut self, value: &[u8]) {
        push_number(self.out, value);
    }

    fn unsigned(&mut self, value: u64) {
        msgpack::push_unsigned(self.out, value);
    }

    fn boolean(&mut self, value: bool) {
        msgpack::push_bool(self.out, value);
    }

    fn null(&mut self) {
        msgpack::push_nil(self.out);
    }

    fn strings(&mut self, values: &[String]) {
        msgpack::push_array_header(self.out, values.len());
        for value in values {
            msgpack::push_str(self.out, value.as_bytes());
        }
    }

    fn constants(&mut self, constants: &Constants) {
        let cache = &mut self.encoder.constants;
        let known = |(revision, _): &&(u64, Encoded)| *revision == constants.revision;
        let pairs = if let Some((_, encoded)) = cache.iter().find(known) {
            push_short(self.out, &encoded.bytes);
            encoded.pairs
        } else {
            let fields = constants.fields.iter();
            let encoded = Encoded::of(fields.map(|(key, value)| (*key, value.as_str())));
            push_short(self.out, &encoded.bytes);
            if cache.len() >= CACHED_MAX {
                cache.clear();
            }
            let pairs = encoded.pairs;
            cache.push((constants.revision, encoded));
            pairs
        };
        self.map.pairs += pairs;
    }

    fn begin(&mut self) {
        let inner = Map::open(self.out);
        self.encoder
            .outer
            .push(std::mem::replace(&mut self.map, inner));
    }

    fn end(&mut self) {
        if let Some(outer) = self.encoder.outer.pop() {
            self.map.close(self.out);
            self.map = outer;
        }
    }
}

impl Words {
    fn of(&mut self, words: &[Word]) -> &Encoded {
        if self.0.is_empty() {
            self.0.resize_with(WORD_SLOTS, Default::default);
        }
        // by their places, which are quicker to compare than they are
        let place = words.iter().fold(0_usize, |place, (_, word)| {
            place.rotate_left(3) ^ word.as_ptr().addr()
        });
        let slot = (place ^ place >> 6) % WORD_SLOTS;
        let same = |((one_key, one), (other_key, other)): (&Word, &Word)| {
            std::ptr::eq(*one_key, *other_key) && std::ptr::eq(*one, *other)
        };
        let Some((known, encoded)) = self.0.get_mut(slot) else {
            return &NOTHING;
        };
        if known.len() != words.len() || !known.iter().zip(words).all(same) {
            *known = words.to_vec();
            *encoded = Encoded::of(words.iter().copied());
        }
        encoded
    }
}

static NOTHING: Encoded = Encoded {
    pairs: 0,
    bytes: Vec::new(),
};

impl Encoded {
    fn of<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut encoded = Self {
            pairs: 0,
            bytes: Vec::new(),
        };
        for (key, value) in fields {
            msgpack::push_str(&mut encoded.bytes, key.as_bytes());
            msgpack::push_str(&mut encoded.bytes, value.as_bytes());
            encoded.pairs += 1;
        }
        encoded
    }
}

/// Writes a JSON number as the integer or float that is exactly it; what neither can hold (more
/// digits than 64 bits, more than a double's range) stays text rather than becoming another number.
fn push_number(out: &mut Vec<u8>, value: &[u8]) {
    let text = std::str::from_utf8(value).unwrap_or_default();
    if let Ok(unsigned) = text.parse::<u64>()
        && !text.starts_with('+')
    {
        msgpack::push_unsigned(out, unsigned);
    } else if let Ok(negative) = text.parse::<i64>()
        && negative < 0
    {
        msgpack::push_negative(out, negative);
    } else if text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
        && let Ok(float) = text.parse::<f64>()
        && float.is_finite()
    {
        msgpack::push_float(out, float);
    } else if text == "-0" {
        msgpack::push_float(out, -0.0);
    } else {
        msgpack::push_str(out, text.as_bytes());
    }
}

/// Appends the text that the inside of a JSON string stands for. Half a surrogate pair and escapes
/// that are none become U+FFFD.
fn unescape(mut value: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = value.iter().position(|byte| *byte == b'\\') {
        let (plain, escape) = value.split_at(at);
        push_short(out, plain);
        let (text, length) = match escape.get(1) {
            Some(b'u') => unescape_unicode(escape),
            Some(byte) => (simple_escape(*byte), 2),
            None => ('\u{fffd}', 1),
        };
        out.extend_from_slice(text.encode_utf8(&mut [0; 4]).as_bytes());
        value = escape.get(length..).unwrap_or_default();
    }
    push_short(out, value);
}

const fn simple_escape(byte: u8) -> char {
    match byte {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => '\u{fffd}',
    }
}

/// The character at the front of `escape` (`\uXXXX`, maybe a pair) and how many bytes it took.
fn unescape_unicode(escape: &[u8]) -> (char, usize) {
    let Some(first) = escape.get(2..6).and_then(hex4) else {
        return ('\u{fffd}', 2);
    };
    if let Some(character) = char::from_u32(first) {
        return (character, 6);
    }
    let second = escape
        .get(6..12)
        .filter(|next| next.starts_with(b"\\u"))
        .and_then(|next| hex4(next.get(2..)?));
    match (first, second) {
        (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
            let code = 0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(code).unwrap_or('\u{fffd}'), 12)
        }
        _ => ('\u{fffd}', 6),
    }
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests;
