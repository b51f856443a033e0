//! Documents as items of a bulk request: an action line and a document line.
//!
//! ```text
//! {"create":{"_index":"<prefix>-<YYYY.MM.DD>","_id":"<document id>"}}
//! {"@timestamp":"…", …}
//! ```
//! The index follows from the document's home day alone, so that the same document always goes to
//! the same index, whenever it is sent.

use std::collections::HashMap;

use model::document::{Body, Constants, Document, Visitor, push_short};
use model::record::Run;
use model::time::Day;
use pipeline::output::Encoder;

use crate::ElasticSettings;
use crate::json;

/// Sets of constants kept encoded; one container file has one, so a pod has a handful.
const CACHED_MAX: usize = 64;

/// Encodes documents as items.
#[derive(Debug)]
pub struct BulkEncoder {
    lines: Action,
    requests: Action,
    constants: HashMap<u64, Vec<u8>>,
}

/// The beginning of an action line, up to the id, for the day it was last needed for.
#[derive(Debug)]
struct Action {
    prefix: String,
    day: Option<Day>,
    text: Vec<u8>,
}

impl BulkEncoder {
    /// An encoder for the indices that `settings` name.
    pub fn new(settings: &ElasticSettings) -> Self {
        Self {
            lines: Action::new(&settings.index_prefix),
            requests: Action::new(&settings.request_index_prefix),
            constants: HashMap::new(),
        }
    }
}

impl Encoder for BulkEncoder {
    fn encode(&mut self, document: &Document<'_>, out: &mut Vec<u8>) {
        let action = match document.body {
            Body::Line(..) => &mut self.lines,
            Body::Request(_) => &mut self.requests,
        };
        push_short(out, action.on(document.home));
        document.id.write_to(out);
        out.extend_from_slice(b"\"}}\n{");
        let mut fields = Fields {
            constants: &mut self.constants,
            out,
            first: true,
            depth: 0,
        };
        document.visit(&mut fields);
        for _ in 0..=fields.depth {
            fields.out.push(b'}');
        }
        out.push(b'\n');
    }
}

impl Action {
    fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            day: None,
            text: Vec::new(),
        }
    }

    fn on(&mut self, day: Day) -> &[u8] {
        if self.day != Some(day) {
            self.day = Some(day);
            self.text.clear();
            self.text.extend_from_slice(b"{\"create\":{\"_index\":");
            json::push_string(&mut self.text, format!("{}-{day}", self.prefix).as_bytes());
            self.text.extend_from_slice(b",\"_id\":\"");
        }
        &self.text
    }
}

/// Writes the fields of one document.
struct Fields<'a> {
    constants: &'a mut HashMap<u64, Vec<u8>>,
    out: &'a mut Vec<u8>,
    first: bool,
    depth: usize,
}

impl Fields<'_> {
    fn separator(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(b',');
        }
    }

    /// A key that needs no escape.
    fn push_key(&mut self, key: &[u8]) {
        self.separator();
        self.out.push(b'"');
        push_short(self.out, key);
        self.out.extend_from_slice(b"\":");
    }
}

impl Visitor for Fields<'_> {
    fn key(&mut self, key: &'static str) {
        self.push_key(key.as_bytes());
    }

    fn free_key(&mut self, key: Run<'_>) {
        self.push_key(key.bytes());
    }

    fn string(&mut self, value: &str) {
        json::push_string(self.out, value.as_bytes());
    }

    fn text(&mut self, value: Run<'_>) {
        json::push_string(self.out, value.bytes());
    }

    fn clean(&mut self, value: Run<'_>) {
        self.out.push(b'"');
        push_short(self.out, value.bytes());
        self.out.push(b'"');
    }

    fn escaped(&mut self, value: &[u8]) {
        json::push_verbatim(self.out, value);
    }

    fn number(&mut self, value: &[u8]) {
        push_short(self.out, value);
    }

    fn unsigned(&mut self, value: u64) {
        push_unsigned(self.out, value);
    }

    fn boolean(&mut self, value: bool) {
        push_short(self.out, if value { b"true" } else { b"false" });
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn strings(&mut self, values: &[String]) {
        let mut separator = b'[';
        for value in values {
            self.out.push(separator);
            json::push_string(self.out, value.as_bytes());
            separator = b',';
        }
        if values.is_empty() {
            self.out.push(b'[');
        }
        self.out.push(b']');
    }

    fn constants(&mut self, constants: &Constants) {
        if constants.fields.is_empty() {
            return;
        }
        if self.constants.len() >= CACHED_MAX && !self.constants.contains_key(&constants.revision) {
            self.constants.clear();
        }
        self.separator();
        let encoded = self
            .constants
            .entry(constants.revision)
            .or_insert_with(|| encode_constants(constants));
        push_short(self.out, encoded);
    }

    fn begin(&mut self) {
        self.out.push(b'{');
        self.first = true;
        self.depth += 1;
    }

    fn end(&mut self) {
        if let Some(depth) = self.depth.checked_sub(1) {
            self.depth = depth;
            self.out.push(b'}');
            self.first = false;
        }
    }
}

/// Pairs without braces, ready to stand between others.
fn encode_constants(constants: &Constants) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in &constants.fields {
        if !out.is_empty() {
            out.push(b',');
        }
        json::push_string(&mut out, key.as_bytes());
        out.push(b':');
        json::push_string(&mut out, value.as_bytes());
    }
    out
}

fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    let mut digits = [b'0'; 20];
    let mut rest = value;
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        length += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    push_short(out, digits.get(digits.len() - length..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
