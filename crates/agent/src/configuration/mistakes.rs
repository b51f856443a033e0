//! What is wrong with the settings, all of it at once, as an operator reads it.
//!
//! ```text
//! sidecar.yaml:3:19: unknown key `lanes.forward.adress`; did you mean `address`?
//!   3 | lanes: {forward: {adress: "127.0.0.1:24224"}}
//!     |                   ^^^^^^
//!     = allowed here: address, tag, shared_key_file, …
//! ```
//! A line that may show a secret is not repeated.

use std::fmt;
use std::path::{Path, PathBuf};

use super::tree::{Origin, Place};

/// Words in keys whose values are secrets, unless the key names a file.
const SECRET_WORDS: [&str; 6] = ["password", "secret", "token", "key", "passwd", "credential"];
/// Longest line that is shown, in characters.
const LINE_MAX: usize = 160;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The setting, e.g. `lanes.forward.address`; empty for the file as a whole.
    pub(crate) path: String,
    pub(crate) origin: Origin,
    pub(crate) what: String,
    /// What could stand there.
    pub(crate) allowed: Option<String>,
}

impl Mistake {
    pub(crate) const fn new(path: String, origin: Origin, what: String) -> Self {
        Self {
            path,
            origin,
            what,
            allowed: None,
        }
    }

    /// In one line, without the file's name.
    fn brief(&self) -> String {
        match &self.origin {
            Origin::File(place) => {
                format!("line {} column {}: {}", place.line, place.column, self.what)
            }
            Origin::Variable(name) => format!("{name}: {}", self.what),
            Origin::Nowhere => self.what.clone(),
        }
    }
}

/// Everything that is wrong with one set of settings.
#[derive(Clone, Debug)]
pub(crate) struct Mistakes {
    file: Option<PathBuf>,
    text: String,
    list: Vec<Mistake>,
}

impl Mistakes {
    /// In the order of the file, then variables, then what is missing.
    pub(crate) fn new(file: Option<&Path>, text: &str, mut list: Vec<Mistake>) -> Self {
        list.sort_by_key(|mistake| match &mistake.origin {
            Origin::File(place) => (0, place.line, place.column),
            Origin::Variable(_) => (1, 0, 0),
            Origin::Nowhere => (2, 0, 0),
        });
        Self {
            file: file.map(Path::to_owned),
            text: text.to_owned(),
            list,
        }
    }

    /// In one line, for logs and health.
    pub(crate) fn brief(&self) -> String {
        let first = self.list.first().map(Mistake::brief).unwrap_or_default();
        let more = match self.list.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        match &self.file {
            Some(file) => format!(
                "settings file {} is not usable: {first}{more}",
                file.display()
            ),
            None => format!("settings are not usable: {first}{more}"),
        }
    }

    fn show(&self, mistake: &Mistake, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = |f: &mut fmt::Formatter<'_>, indent: usize| match &mistake.allowed {
            Some(allowed) => writeln!(f, "{:indent$} = {allowed}", ""),
            None => Ok(()),
        };
        let place = match &mistake.origin {
            Origin::File(place) => place,
            Origin::Variable(name) => {
                writeln!(f, "{name}: {}", mistake.what)?;
                return allowed(f, 1);
            }
            Origin::Nowhere => {
                writeln!(f, "{}", mistake.what)?;
                return allowed(f, 1);
            }
        };
        let file = self.file.as_deref().unwrap_or(Path::new("settings"));
        let Place { line, column, .. } = place;
        writeln!(f, "{}:{line}:{column}: {}", file.display(), mistake.what)?;
        let number = line.to_string();
        let indent = number.len() + 2;
        let written = line.checked_sub(1).and_then(|at| self.text.lines().nth(at));
        if let Some(written) = written.filter(|written| !may_show_secret(written)) {
            let (shown, before) = window(written, column.saturating_sub(1));
            let length = place
                .length
                .min(shown.chars().count().saturating_sub(before))
                .max(1);
            writeln!(f, "  {number} | {shown}")?;
            writeln!(f, "{:indent$} | {:before$}{}", "", "", "^".repeat(length))?;
        }
        allowed(f, indent)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.list {
            self.show(mistake, f)?;
        }
        let count = self.list.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in the settings")
    }
}

impl std::error::Error for Mistakes {}

/// The part of a long line around `column`, tabs as single spaces, and where the column is in it.
fn window(line: &str, column: usize) -> (String, usize) {
    let start = if line.chars().count() > LINE_MAX {
        column.saturating_sub(LINE_MAX / 2)
    } else {
        0
    };
    let one_column = |c: char| if c.is_control() { ' ' } else { c };
    let shown = line.chars().skip(start).take(LINE_MAX).map(one_column);
    (shown.collect(), column - start)
}

/// Whether the line may hold a secret that somebody wrote into the file.
fn may_show_secret(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let before_values = lower.rsplit_once(':').map_or("", |(before, _)| before);
    let keys = before_values.split(':').filter_map(|before| {
        before
            .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .find(|word| !word.is_empty())
    });
    let mut secrets = keys.filter(|key| {
        !key.ends_with("_file") && SECRET_WORDS.iter().any(|word| key.contains(word))
    });
    // an address with a user and a password in it
    lower.contains('@') || secrets.next().is_some()
}

/// The one of `known` that `written` is most likely meant to be.
pub(crate) fn suggestion<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let bound = (written.chars().count() / 3).max(1);
    let mut known = known.into_iter().collect::<Vec<_>>();
    // `password` for `password_file`
    let begins = |word: &&str| {
        word.strip_prefix(written)
            .is_some_and(|rest| rest.starts_with('_'))
    };
    known.sort_by_key(|word| !begins(word));
    if let Some(first) = known.first().filter(|word| begins(word)) {
        return Some(first);
    }
    known
        .into_iter()
        .map(|word| (distance(written, word), word))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (row, from) in a.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, to) in b.iter().enumerate() {
            let at =
                |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, column) + usize::from(from != to);
            let mut best = replaced
                .min(at(&last, column + 1) + 1)
                .min(at(&next, column) + 1);
            let is_swap = row > 0
                && column > 0
                && a.get(row - 1) == Some(to)
                && b.get(column - 1) == Some(from);
            if is_swap {
                best = best.min(at(&before, column - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut last, next);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize, length: usize) -> Origin {
        Origin::File(Place {
            line,
            column,
            length,
        })
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let mistake = Mistake {
            allowed: Some("allowed here: b".to_owned()),
            ..Mistake::new("a".to_owned(), at(2, 4, 2), "wrong".to_owned())
        };
        let missing = Mistake::new("c".to_owned(), Origin::Nowhere, "`c` is missing".to_owned());
        let list = vec![missing, mistake];
        let mistakes = Mistakes::new(Some(Path::new("f.yaml")), "x\na: bö\n", list);
        assert_eq!(
            mistakes.to_string(),
            "f.yaml:2:4: wrong\n  2 | a: bö\n    |    ^^\n    = allowed here: b\n`c` is missing\n2 mistakes in the settings"
        );
        let brief = "settings file f.yaml is not usable: line 2 column 4: wrong (and 1 more)";
        assert_eq!(mistakes.brief(), brief);
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let line = format!("{}x{}", " ".repeat(500), " ".repeat(500));
        let mistakes = vec![Mistake::new(
            String::new(),
            at(1, 501, 1),
            "here".to_owned(),
        )];
        let shown = Mistakes::new(None, &line, mistakes).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].find('x'), lines[2].find('^'));
        assert!(lines[1].len() < 200);
    }

    #[test]
    fn lines_with_secrets_are_not_repeated() {
        for line in [
            "password: hunter2",
            "  forward: {shared_key: hunter2, x: 1}",
            "url: http://elastic:hunter2@es:9200",
            "address: me:hunter2@fluentd:24224",
            "\"api-key\": hunter2",
        ] {
            let list = vec![Mistake::new(String::new(), at(1, 1, 1), "wrong".to_owned())];
            let shown = Mistakes::new(None, line, list).to_string();
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert!(!may_show_secret("password_file: /run/secrets/key"));
    }

    #[test]
    fn what_is_nearly_right_is_suggested() {
        let known = ["address", "tag", "shared_key_file", "compression"];
        assert_eq!(suggestion("adress", known), Some("address"));
        assert_eq!(suggestion("tga", known), Some("tag"));
        assert_eq!(suggestion("compresion", known), Some("compression"));
        assert_eq!(suggestion("shared_key", known), Some("shared_key_file"));
        assert_eq!(suggestion("port", known), None);
        for (a, b, expected) in [
            ("", "ab", 2),
            ("ab", "ba", 1),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
