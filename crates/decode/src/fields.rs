//! Writes fields into a record: masked where needed, valid UTF-8 always, no key twice.

use model::record::{Field, Key, Range, Record, Value};
use model::time::{TimeReader, UnixNanos};

use crate::json::{Escapes, range, unescape};
use crate::secrets;

/// Longest normalised key; what is longer is cut.
const KEY_BYTES_MAX: usize = 128;

/// Memory a buffer may keep after an unusually long line.
const KEEP_BYTES: usize = 64 << 10;

/// Memory that is kept between lines.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Vec<Field>,
    plain: Vec<u8>,
    times: TimeReader,
}

/// A record being written.
pub(crate) struct Fields<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) record: &'a mut Record,
    buffers: &'a mut Buffers,
    /// The text may hold secrets.
    suspicious: bool,
    /// The text is valid UTF-8.
    valid: bool,
    /// Schema keys that are set, by [`crate::table::Entry::bit`].
    used: u128,
}

impl<'a> Fields<'a> {
    /// The RFC 3339 time that is written there.
    pub(crate) fn read_time(&mut self, place: Range) -> Option<UnixNanos> {
        self.buffers.times.read(place.of(self.text))
    }

    pub(crate) fn new(
        text: &'a [u8],
        ascii: bool,
        record: &'a mut Record,
        buffers: &'a mut Buffers,
    ) -> Self {
        buffers.free.clear();
        buffers.plain.shrink_to(KEEP_BYTES);
        record.scratch.shrink_to(KEEP_BYTES);
        let valid = ascii || std::str::from_utf8(text).is_ok();
        record.lossy = !valid;
        Self {
            suspicious: secrets::suspicious(text),
            valid,
            text,
            record,
            buffers,
            used: 0,
        }
    }

    /// Claims a schema key; false if it is taken.
    #[inline]
    pub(crate) fn claim(&mut self, bit: u8) -> bool {
        let mask = 1_u128 << (bit & 127);
        let free = self.used & mask == 0;
        self.used |= mask;
        free
    }

    /// Adds a value under a schema key that the caller knows to be free.
    #[inline]
    pub(crate) fn schema(&mut self, key: &'static str, value: Value) {
        let key = Key::Schema(key);
        self.record.fields.push(Field { key, value });
    }

    /// Adds a run of the text as a string.
    pub(crate) fn plain(&mut self, key: &'static str, run: Range) {
        let value = self.plain_value(run);
        self.schema(key, value);
    }

    /// Adds text that does not stand in the line.
    pub(crate) fn computed(&mut self, key: &'static str, text: &[u8]) {
        let value = self.scratch(text);
        self.schema(key, value);
    }

    /// Adds a value under `emco.fields`, its name made from `raw`.
    pub(crate) fn free(&mut self, raw: &[u8], value: Value) {
        let start = self.record.scratch.len();
        normalise(raw, &mut self.record.scratch);
        let end = self.record.scratch.len();
        let mut name = range(start, end);
        let mut copies = 1;
        while self.is_taken(name) {
            copies += 1;
            self.record.scratch.truncate(end);
            self.record.scratch.push(b'_');
            push_decimal(&mut self.record.scratch, copies);
            name = range(start, self.record.scratch.len());
        }
        let value = self.without_secret(name, value);
        let key = Key::Free(name);
        self.buffers.free.push(Field { key, value });
    }

    /// Puts the free fields behind the schema fields.
    pub(crate) fn finish(&mut self) {
        self.record.fields.append(&mut self.buffers.free);
    }

    /// The value of a run of plain text.
    pub(crate) fn plain_value(&mut self, run: Range) -> Value {
        let bytes = run.of(self.text);
        if self.valid && !self.suspicious {
            return Value::Plain(run);
        }
        self.buffers.plain.clear();
        self.buffers.plain.extend_from_slice(bytes);
        self.checked().unwrap_or(Value::Plain(run))
    }

    /// The value of the inside of a JSON string; `readable`: the ledger reads it, so it must not
    /// keep its escapes.
    #[inline]
    pub(crate) fn json_value(&mut self, run: Range, escapes: Escapes, readable: bool) -> Value {
        if escapes == Escapes::None && self.valid && !self.suspicious {
            return Value::Clean(run);
        }
        self.other_json_value(run, escapes, readable)
    }

    fn other_json_value(&mut self, run: Range, escapes: Escapes, readable: bool) -> Value {
        let plain = self.valid && !self.suspicious;
        if plain && escapes == Escapes::Some && !readable {
            return Value::Escaped(run);
        }
        if plain {
            let start = self.record.scratch.len();
            unescape(run.of(self.text), &mut self.record.scratch);
            return Value::Scratch(range(start, self.record.scratch.len()));
        }
        self.buffers.plain.clear();
        unescape(run.of(self.text), &mut self.buffers.plain);
        if let Some(value) = self.checked() {
            return value;
        }
        match escapes {
            Escapes::Some if readable => self.copied(),
            Escapes::Surrogates => self.copied(),
            Escapes::None => Value::Clean(run),
            Escapes::Some => Value::Escaped(run),
        }
    }

    /// Counts a masked value and answers what stands in its place.
    pub(crate) fn masked(&mut self) -> Value {
        self.record.masked = self.record.masked.saturating_add(1);
        Value::Static(secrets::MASK)
    }

    /// Copies text to the scratch space.
    pub(crate) fn scratch(&mut self, text: &[u8]) -> Value {
        self.buffers.plain.clear();
        self.buffers.plain.extend_from_slice(text);
        self.checked().unwrap_or_else(|| self.copied())
    }

    /// The buffer's text as a value in the scratch space.
    fn copied(&mut self) -> Value {
        let start = self.record.scratch.len();
        self.record.scratch.extend_from_slice(&self.buffers.plain);
        Value::Scratch(range(start, self.record.scratch.len()))
    }

    /// Makes the text in the buffer valid and free of secrets; `None` if it already is.
    fn checked(&mut self) -> Option<Value> {
        let start = self.record.scratch.len();
        let lossy = (!self.valid)
            .then(|| String::from_utf8_lossy(&self.buffers.plain))
            .filter(|lossy| lossy.as_bytes() != self.buffers.plain)
            .map(|lossy| lossy.into_owned().into_bytes());
        let text = lossy.as_deref().unwrap_or(&self.buffers.plain);
        let masked = if self.suspicious {
            secrets::mask(text, &mut self.record.scratch)
        } else {
            self.record.scratch.extend_from_slice(text);
            0
        };
        if masked == 0 && lossy.is_none() {
            self.record.scratch.truncate(start);
            return None;
        }
        self.record.masked = self.record.masked.saturating_add(masked);
        Some(Value::Scratch(range(start, self.record.scratch.len())))
    }

    fn without_secret(&mut self, name: Range, value: Value) -> Value {
        let holds = match value {
            Value::Clean(run)
            | Value::Escaped(run)
            | Value::Plain(run)
            | Value::Number(run)
            | Value::Scratch(run) => run.start < run.end,
            _ => false,
        };
        if self.suspicious && holds && secrets::is_secret_name(name.of(&self.record.scratch)) {
            return self.masked();
        }
        value
    }

    fn is_taken(&self, name: Range) -> bool {
        let wanted = name.of(&self.record.scratch);
        self.buffers.free.iter().any(|field| match field.key {
            Key::Free(other) => other.of(&self.record.scratch) == wanted,
            Key::Schema(_) => false,
        })
    }
}

/// Appends a key in `[a-z0-9_]`: other characters become one underscore, none at the ends.
fn normalise(raw: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut gap = false;
    for byte in raw.iter().take(KEY_BYTES_MAX) {
        if byte.is_ascii_alphanumeric() {
            if gap && out.len() > start {
                out.push(b'_');
            }
            out.push(byte.to_ascii_lowercase());
            gap = false;
        } else {
            gap = true;
        }
    }
    if out.len() == start {
        out.extend_from_slice(b"field");
    }
}

fn push_decimal(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(value.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_normalised() {
        for (raw, expected) in [
            (".Provider", "provider"),
            ("DeploymentIntentGroup: ", "deploymentintentgroup"),
            ("pl.pActCont::", "pl_pactcont"),
            ("len(sortedTemplates):", "len_sortedtemplates"),
            (" :: ", "field"),
            ("é", "field"),
        ] {
            let mut out = Vec::new();
            normalise(raw.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
