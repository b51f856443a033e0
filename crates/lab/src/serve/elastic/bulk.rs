//! Reads the lines of a bulk request as they arrive; knows no sockets.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::serve::store::Mode;

/// Longest line, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest id, in bytes, as in Elasticsearch.
const ID_BYTES_MAX: usize = 512;
/// Longest name of an index, in bytes, as in Elasticsearch.
const INDEX_BYTES_MAX: usize = 255;

/// Why the rest of a request cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// An action line.
    #[error("Malformed action/metadata line [{line}]: {reason}")]
    Action {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A line without end.
    #[error("line [{line}] is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong {
        /// Its number, from 1.
        line: usize,
    },
    /// The end came in the middle.
    #[error("The bulk request must be terminated by a newline [\\n]")]
    Unterminated,
    /// The document of an action is missing.
    #[error("the action of line [{line}] has no document")]
    NoDocument {
        /// Number of the action's line, from 1.
        line: usize,
    },
    /// An empty request.
    #[error("request body is required")]
    Empty,
}

/// The action of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Index,
    Update,
    Delete,
}

impl Action {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Index => "index",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// How the store takes it; only new documents and whole ones are taken.
    pub(super) const fn mode(self) -> Option<Mode> {
        match self {
            Self::Create => Some(Mode::Create),
            Self::Index => Some(Mode::Overwrite),
            Self::Update | Self::Delete => None,
        }
    }
}

/// One item of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) action: Action,
    pub(super) index: String,
    pub(super) id: Option<String>,
    /// The document's line, empty for `delete`.
    pub(super) source: Vec<u8>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "_index")]
    index: Option<String>,
    #[serde(rename = "_id")]
    id: Option<String>,
}

struct Head {
    action: Action,
    index: String,
    id: Option<String>,
    line: usize,
}

/// Takes bytes, gives items.
pub(super) struct Parser {
    default_index: Option<String>,
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    line: usize,
    head: Option<Head>,
}

impl Parser {
    /// For a request to `/{default_index}/_bulk` or `/_bulk`.
    pub(super) fn new(default_index: Option<String>) -> Self {
        Self {
            default_index,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            line: 0,
            head: None,
        }
    }

    /// Adds bytes of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole item, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            let Some(range) = self.next_line()? else {
                return Ok(None);
            };
            let text = self.buffer.get(range).unwrap_or_default();
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if let Some(head) = self.head.take() {
                return Ok(Some(item(head, text.to_vec())));
            }
            if text.is_empty() {
                continue;
            }
            let head = action(text, self.default_index.as_deref(), self.line)?;
            if head.action == Action::Delete {
                return Ok(Some(item(head, Vec::new())));
            }
            self.head = Some(head);
        }
    }

    /// Says whether the body ended where it may.
    pub(super) fn finish(&self) -> Result<(), Error> {
        if self.start < self.buffer.len() {
            return Err(Error::Unterminated);
        }
        match &self.head {
            Some(head) => Err(Error::NoDocument { line: head.line }),
            None if self.line == 0 => Err(Error::Empty),
            None => Ok(()),
        }
    }

    fn next_line(&mut self) -> Result<Option<std::ops::Range<usize>>, Error> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(end) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            if self.searched - self.start > LINE_BYTES_MAX {
                return Err(Error::LineTooLong {
                    line: self.line + 1,
                });
            }
            return Ok(None);
        };
        let end = self.searched + end;
        let line = self.start..end;
        self.start = end + 1;
        self.searched = self.start;
        self.line += 1;
        Ok(Some(line))
    }
}

fn item(head: Head, source: Vec<u8>) -> Item {
    Item {
        action: head.action,
        index: head.index,
        id: head.id,
        source,
    }
}

fn action(text: &[u8], default_index: Option<&str>, line: usize) -> Result<Head, Error> {
    let refuse = |reason: String| Error::Action { line, reason };
    let actions: std::collections::BTreeMap<&str, &RawValue> =
        serde_json::from_slice(text).map_err(|error| refuse(format!("not valid: {error}")))?;
    let mut actions = actions.into_iter();
    let (Some((name, meta)), None) = (actions.next(), actions.next()) else {
        return Err(refuse("expected an object with one action".to_owned()));
    };
    let action = [
        Action::Create,
        Action::Index,
        Action::Update,
        Action::Delete,
    ]
    .into_iter()
    .find(|action| action.name() == name)
    .ok_or_else(|| {
        refuse(format!(
            "expected one of [create, delete, index, update] but found [{name}]"
        ))
    })?;
    let meta: Meta = serde_json::from_str(meta.get())
        .map_err(|error| refuse(format!("its metadata are not valid: {error}")))?;
    let index = meta.index.or_else(|| default_index.map(str::to_owned));
    let index = index.ok_or_else(|| refuse("index is missing".to_owned()))?;
    if meta.id.as_ref().is_some_and(|id| id.len() > ID_BYTES_MAX) {
        return Err(refuse(format!("id is longer than {ID_BYTES_MAX} bytes")));
    }
    if meta.id.as_deref() == Some("") {
        return Err(refuse(
            "if _id is specified it must not be empty".to_owned(),
        ));
    }
    Ok(Head {
        action,
        index,
        id: meta.id,
        line,
    })
}

/// Why `name` cannot be the name of an index; Elasticsearch's rules.
pub(super) fn index_refusal(name: &str) -> Option<&'static str> {
    let forbidden = |c: char| c.is_whitespace() || "\\/*?\"<>|,#:".contains(c) || c.is_control();
    if name.is_empty() || name.len() > INDEX_BYTES_MAX {
        return Some("must not be empty or longer than 255 bytes");
    }
    if name.chars().any(char::is_uppercase) {
        return Some("must be lowercase");
    }
    if name == "." || name == ".." || name.starts_with(['-', '_', '+']) {
        return Some("must not start with '_', '-', or '+', nor be '.' or '..'");
    }
    if name.chars().any(forbidden) {
        return Some("must not contain whitespace or any of \\ / * ? \" < > | , # :");
    }
    None
}

#[cfg(test)]
#[path = "bulk_tests.rs"]
mod tests;
