//! A file of manifests as documents.
//!
//! ```text
//! # Source: a.yaml      ┐ head: kept as it is
//! ---                   │
//! # Source: b.yaml      ┘
//! kind: Deployment      ┐ body: kept as it is, or written anew
//! ...                   ┘
//! --- ...
//! ```
//! `---` at the beginning of a line always begins a document, wherever it stands. A file that begins
//! with `{` is JSON and stays JSON. YAML is read as Kubernetes reads it, by the rules of version 1.1
//! (`yes` is true, `0644` is 420), and written so that readers of both versions see the same.

use serde_json::Value;

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A document is no YAML.
    #[error("document {number}, which begins at line {line}, is no YAML")]
    Yaml {
        /// Which of the documents, from 1.
        number: usize,
        /// The line of the file where it begins, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// A document is no JSON.
    #[error("document {number}, which begins at line {line}, is no JSON")]
    Json {
        /// Which of the documents, from 1.
        number: usize,
        /// The line of the file where it begins, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A changed document cannot be written as YAML.
    #[error("cannot write document {number} as YAML")]
    Write {
        /// Which of the documents, from 1.
        number: usize,
        /// What YAML cannot say.
        #[source]
        source: Box<serde_saphyr::ser::Error>,
    },
}

/// The documents of a file, in order.
#[derive(Debug)]
pub(super) struct Documents<'a> {
    list: Vec<Document<'a>>,
}

#[derive(Debug)]
struct Document<'a> {
    /// Separator, blank lines and comments in front of the body.
    head: &'a str,
    body: &'a str,
    value: Value,
    format: Format,
    changed: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
}

impl<'a> Documents<'a> {
    /// Reads all of `text`.
    ///
    /// # Errors
    /// If a document is neither YAML nor JSON.
    pub(super) fn parse(text: &'a str) -> Result<Self, Error> {
        let mut list: Vec<Document<'a>> = Vec::new();
        let mut line = 1;
        for (part, number) in split(text).into_iter().zip(1..) {
            list.push(Document::parse(part, number, line)?);
            line += part.matches('\n').count();
        }
        Ok(Self { list })
    }

    /// Hands each document to `change`, which says whether it changed it.
    ///
    /// # Errors
    /// If a changed document cannot be written.
    pub(super) fn change(
        &mut self,
        mut change: impl FnMut(&mut Value) -> bool,
    ) -> Result<(), Error> {
        for (document, number) in self.list.iter_mut().zip(1..) {
            if change(&mut document.value) {
                let text = write(&document.value, document.format);
                let text = text.map_err(|source| Error::Write {
                    number,
                    source: Box::new(source),
                })?;
                document.changed = Some(text);
            }
        }
        Ok(())
    }

    /// The file.
    pub(super) fn into_text(self) -> String {
        let mut text = String::new();
        for document in &self.list {
            text.push_str(document.head);
            match &document.changed {
                // what follows the separator on its line is written anew
                Some(changed) => {
                    if !text.is_empty() && !text.ends_with('\n') {
                        text.push('\n');
                    }
                    text.push_str(changed);
                }
                None => text.push_str(document.body),
            }
        }
        text
    }
}

impl<'a> Document<'a> {
    fn parse(part: &'a str, number: usize, line: usize) -> Result<Self, Error> {
        let (head, body) = part.split_at(head_len(part));
        let line = line + head.matches('\n').count();
        let format = if body.starts_with('{') && head.trim().is_empty() {
            Format::Json
        } else {
            Format::Yaml
        };
        let value = match format {
            _ if body.is_empty() => Value::Null,
            // flow style of YAML begins like JSON
            Format::Json => match serde_json::from_str(body) {
                Ok(value) => value,
                Err(source) => read_yaml(body).map_err(|_| Error::Json {
                    number,
                    line,
                    source,
                })?,
            },
            Format::Yaml => read_yaml(body).map_err(|source| Error::Yaml {
                number,
                line,
                source: Box::new(source),
            })?,
        };
        Ok(Self {
            head,
            body,
            value,
            format,
            changed: None,
        })
    }
}

/// Cuts `text` in front of each separator.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if at > begin && is_separator(line) {
            parts.extend(text.get(begin..at));
            begin = at;
        }
        at += line.len();
    }
    parts.extend(text.get(begin..).filter(|rest| !rest.is_empty()));
    parts
}

fn is_separator(line: &str) -> bool {
    let rest = line.strip_prefix("---");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Length of what stands in front of the body of a document.
fn head_len(part: &str) -> usize {
    let mut length = 0;
    for (index, line) in part.split_inclusive('\n').enumerate() {
        if index == 0 && is_separator(line) {
            let rest = line.get(3..).unwrap_or_default().trim();
            if rest.is_empty() || rest.starts_with('#') {
                length += line.len();
                continue;
            }
            return length + line.len() - line.get(3..).unwrap_or_default().trim_start().len();
        }
        // directives stand alone in front of a separator
        let is_head = line.trim().is_empty() || line.trim_start().starts_with(['#', '%']);
        if !is_head {
            // indentation belongs to what is indented
            let is_json = line.trim_start().starts_with('{');
            let indent = line.len() - line.trim_start().len();
            return length + if is_json { indent } else { 0 };
        }
        length += line.len();
    }
    length
}

fn read_yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

fn write(value: &Value, format: Format) -> Result<String, serde_saphyr::ser::Error> {
    let mut text = match format {
        // a value in memory can always be written
        Format::Json => serde_json::to_string_pretty(value).unwrap_or_default(),
        Format::Yaml => serde_saphyr::to_string(value)?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
