//! A decoded line: ranges over its text, nothing copied.
//!
//! The decoder writes a [`Record`]; the outputs render it. Between the two it is a small, re-usable
//! list, so the hot path allocates nothing per line.

use crate::line::{Dialect, Severity, Stream};
use crate::time::UnixNanos;

/// A run of bytes in the record's text or scratch space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// What a field's value is and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// UTF-8 in the text that reads the same inside a JSON string: nothing in it is, or needs, an
    /// escape.
    Clean(Range),
    /// The inside of a JSON string in the text: valid UTF-8, escapes intact and valid.
    Escaped(Range),
    /// Plain UTF-8 in the text, to be escaped by whoever writes JSON.
    Plain(Range),
    /// Plain UTF-8 in the record's scratch space (unescaped, masked or computed).
    Scratch(Range),
    /// A JSON number in the text, as written.
    Number(Range),
    /// An unsigned integer.
    Unsigned(u64),
    /// A boolean.
    Bool(bool),
    /// JSON's `null`.
    Null,
    /// A constant.
    Static(&'static str),
}

/// The name of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A field of the schema, e.g. `emco.project`; stands at the top of the document.
    Schema(&'static str),
    /// Anything else: a normalised key in the scratch space; stands under `emco.fields`.
    Free(Range),
}

/// One field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub key: Key,
    /// Its value.
    pub value: Value,
}

/// A decoded line. Ranges refer to the text that was decoded (kept by the caller) and to
/// [`Record::scratch`]. Free fields come after all schema fields; no key occurs twice.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The grammar that matched.
    pub dialect: Dialect,
    /// Which stream the line came from.
    pub stream: Stream,
    /// How grave it is.
    pub severity: Severity,
    /// Its own time, or the CRI time where it has none of sub-second resolution.
    pub time: UnixNanos,
    /// The fields, schema fields first.
    pub fields: Vec<Field>,
    /// Text that is not in the line itself: unescaped or masked values, normalised keys.
    pub scratch: Vec<u8>,
    /// How many values were masked as secrets.
    pub masked: u32,
    /// The text is no valid UTF-8: what is not is replaced in the fields.
    pub lossy: bool,
    /// Where the first slashes of the text stand, in order: paths and handles have them.
    pub slashes: Vec<u32>,
}

impl Record {
    /// Empties the record and keeps its memory.
    pub fn clear(&mut self) {
        let fields = std::mem::take(&mut self.fields);
        let scratch = std::mem::take(&mut self.scratch);
        let slashes = std::mem::take(&mut self.slashes);
        *self = Self {
            fields,
            scratch,
            slashes,
            ..Self::default()
        };
        self.slashes.clear();
        self.fields.clear();
        self.scratch.clear();
    }
}

/// A run of bytes together with the text it stands in. An encoder may take more than the run in one
/// move of a fixed size and cut it off again, which costs less than to move exactly its length.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    text: &'a [u8],
    range: Range,
}

impl<'a> Run<'a> {
    /// The run of `text` that `range` says.
    pub const fn new(text: &'a [u8], range: Range) -> Self {
        Self { text, range }
    }

    /// All of a text.
    #[inline]
    pub fn whole(text: &'a [u8]) -> Self {
        let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        Self::new(text, Range { start: 0, end })
    }

    /// Its bytes, or nothing if the text is shorter than the range says.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.range.of(self.text)
    }

    /// So many bytes of the text from the run's beginning on, if there are so many.
    #[inline]
    pub fn block<const N: usize>(self) -> Option<&'a [u8; N]> {
        self.text.get(self.range.start as usize..)?.first_chunk()
    }
}

impl Range {
    /// The bytes of the range, or nothing if `text` is shorter than the range says.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}
