//! Finds documents: newest first, by text and by facets, with a cursor; and all of one request.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::serve::facts::{Attribution, Facts};

/// Values a facet lists at most.
const FACET_VALUES_MAX: usize = 40;
/// Different combinations of facets that are counted at most.
const GROUPS_MAX: usize = 50_000;

/// What to look for; an empty field does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// Words; see [`Words::parse`].
    pub(crate) text: String,
    /// `user.id`
    pub(crate) user: String,
    /// `service.name`
    pub(crate) service: String,
    /// `log.level`
    pub(crate) level: String,
    /// How the line stands to a person.
    pub(crate) attribution: Option<Attribution>,
    /// `trace.id`
    pub(crate) trace: String,
    /// First nanosecond.
    pub(crate) from: Option<u64>,
    /// First nanosecond that is not wanted any more.
    pub(crate) to: Option<u64>,
}

/// Where the next page begins: below this document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    time: i64,
    document: i64,
}

/// One page of documents.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The documents: JSON and facts.
    pub(crate) documents: Vec<(String, Facts)>,
    /// Where to go on, if there is more.
    pub(crate) next: Option<Cursor>,
}

/// How many documents there are by each facet, each counted under the filters of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facets {
    /// Documents that match everything.
    pub(crate) total: u64,
    /// There are too many different values: all counts are lower bounds.
    pub(crate) partial: bool,
    /// By `service.name`.
    pub(crate) services: Vec<(String, u64)>,
    /// By `log.level`, gravest first.
    pub(crate) levels: Vec<(String, u64)>,
    /// By proven person.
    pub(crate) users: Vec<(String, u64)>,
    /// By how they stand to a person.
    pub(crate) attributions: Vec<(Attribution, u64)>,
}

/// The words of a search: all of `wanted` and none of `unwanted`.
///
/// Words stand for words that begin like them; `"in quotes"` stands for exactly that phrase; a
/// leading `-` excludes. There is no syntax that can be wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

impl Query {
    /// One page below `cursor`.
    pub(crate) fn page(
        &self,
        connection: &Connection,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> rusqlite::Result<Found> {
        let mut clause = self.clause(true);
        if let Some(cursor) = cursor {
            clause.add("(time, document) < (?, ?)", [cursor.time, cursor.document]);
        }
        let sql = format!(
            "SELECT time, document, json FROM documents {} ORDER BY time DESC, document DESC LIMIT {}",
            clause.text(),
            limit.saturating_add(1),
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(clause.values))?;
        let mut found = Found::default();
        let mut last = None;
        while let Some(row) = rows.next()? {
            if found.documents.len() == limit {
                found.next = last;
                break;
            }
            last = Some(Cursor {
                time: row.get(0)?,
                document: row.get(1)?,
            });
            let json: String = row.get(2)?;
            let facts = Facts::parse(&json).unwrap_or_default();
            found.documents.push((json, facts));
        }
        Ok(found)
    }

    /// Counts by facet.
    pub(crate) fn facets(&self, connection: &Connection) -> rusqlite::Result<Facets> {
        let clause = self.clause(false);
        let sql = format!(
            "SELECT service, level, attribution, coalesce(user, ''), count(*)
             FROM documents {} GROUP BY 1, 2, 3, 4 LIMIT {GROUPS_MAX}",
            clause.text()
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(clause.values))?;
        let (mut counts, mut groups) = (Counts::default(), 0);
        while let Some(row) = rows.next()? {
            let attribution: String = row.get(2)?;
            let group = Group {
                service: row.get(0)?,
                level: row.get(1)?,
                attribution: Attribution::parse(&attribution).unwrap_or_default(),
                user: row.get(3)?,
            };
            counts.add(self, group, row.get(4)?);
            groups += 1;
        }
        Ok(Facets {
            partial: groups == GROUPS_MAX,
            ..counts.into_facets()
        })
    }

    /// The words to mark in what was found, in lower case.
    pub(crate) fn marked_words(&self) -> Vec<String> {
        let mut words = Words::parse(&self.text).wanted;
        for word in &mut words {
            *word = word.trim_end_matches(" *").trim_matches('"').to_lowercase();
        }
        words
    }

    fn clause(&self, with_facets: bool) -> Clause {
        let mut clause = Clause::default();
        if let Some(trace) = as_trace(&self.text) {
            clause.add("trace = ?", [trace]);
        } else {
            let words = Words::parse(&self.text);
            if !words.wanted.is_empty() {
                clause.add(
                    "document IN (SELECT rowid FROM words WHERE words MATCH ?)",
                    [words.wanted.join(" AND ")],
                );
            }
            if !words.unwanted.is_empty() {
                clause.add(
                    "document NOT IN (SELECT rowid FROM words WHERE words MATCH ?)",
                    [words.unwanted.join(" OR ")],
                );
            }
        }
        if !self.trace.is_empty() {
            clause.add("trace = ?", [self.trace.to_ascii_lowercase()]);
        }
        if let Some(from) = self.from {
            clause.add("time >= ?", [signed(from)]);
        }
        if let Some(to) = self.to {
            clause.add("time < ?", [signed(to)]);
        }
        if with_facets {
            for (column, value) in [
                ("user = ?", self.user.as_str()),
                ("service = ?", &self.service),
                ("level = ?", &self.level),
                ("attribution = ?", self.attribution.map_or("", |a| a.name())),
            ] {
                if !value.is_empty() {
                    clause.add(column, [value.to_owned()]);
                }
            }
        }
        clause
    }
}

/// Every document of the request `trace`, oldest first, at most `limit`; and whether there are more.
pub(crate) fn request(
    connection: &Connection,
    trace: &str,
    limit: usize,
) -> rusqlite::Result<(Vec<(String, Facts)>, bool)> {
    let mut statement = connection.prepare_cached(
        "SELECT json FROM documents WHERE trace = ?1 ORDER BY time, document LIMIT ?2",
    )?;
    let limit_and_one = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut rows = statement.query(rusqlite::params![trace, limit_and_one])?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        if documents.len() == limit {
            return Ok((documents, true));
        }
        let json: String = row.get(0)?;
        let facts = Facts::parse(&json).unwrap_or_default();
        documents.push((json, facts));
    }
    // Lines of one instant stand in the order in which their file has them.
    documents.sort_by(|(_, one), (_, other)| {
        let order = |facts: &Facts| (facts.time, facts.path.clone(), facts.sequence);
        order(one).cmp(&order(other))
    });
    Ok((documents, false))
}

/// How many documents there are (none is ever removed), and how many of them the full-text index
/// holds.
pub(crate) fn counts(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let (documents, indexed): (i64, i64) = connection.query_row(
        "SELECT (SELECT coalesce(max(document), 0) FROM documents),
                (SELECT value FROM state WHERE name = 'indexed')",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok((documents.unsigned_abs(), indexed.unsigned_abs()))
}

impl Words {
    /// Reads what somebody typed; words without a letter or digit say nothing and are left out.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (negative, after) = match rest.strip_prefix('-') {
                Some(after) => (true, after),
                None => (false, rest),
            };
            let (word, exact, after) = split_word(after);
            if word.chars().any(char::is_alphanumeric) {
                let list = if negative {
                    &mut words.unwanted
                } else {
                    &mut words.wanted
                };
                list.push(phrase(word, exact));
            }
            rest = after.trim_start();
        }
        words
    }
}

fn split_word(text: &str) -> (&str, bool, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        let (word, after) = quoted.split_once('"').unwrap_or((quoted, ""));
        return (word, true, after);
    }
    let (word, after) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, false, after)
}

fn phrase(word: &str, exact: bool) -> String {
    let word = word.replace(['"', '\0'], " ");
    let open_ended = !exact && word.ends_with(char::is_alphanumeric);
    format!("\"{word}\"{}", if open_ended { " *" } else { "" })
}

/// A text that is a whole trace id is meant as one.
fn as_trace(text: &str) -> Option<String> {
    let text = text.trim();
    let whole = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| text.to_ascii_lowercase())
}

#[derive(Default)]
struct Clause {
    conditions: Vec<&'static str>,
    values: Vec<Value>,
}

impl Clause {
    fn add<V: Into<Value>, const N: usize>(&mut self, condition: &'static str, values: [V; N]) {
        self.conditions.push(condition);
        self.values.extend(values.into_iter().map(Into::into));
    }

    fn text(&self) -> String {
        if self.conditions.is_empty() {
            return String::new();
        }
        format!("WHERE {}", self.conditions.join(" AND "))
    }
}

struct Group {
    service: String,
    level: String,
    attribution: Attribution,
    user: String,
}

#[derive(Default)]
struct Counts {
    total: u64,
    services: BTreeMap<String, u64>,
    levels: BTreeMap<String, u64>,
    users: BTreeMap<String, u64>,
    attributions: [u64; Attribution::ALL.len()],
}

impl Counts {
    fn add(&mut self, query: &Query, group: Group, count: i64) {
        let count = count.unsigned_abs();
        let service = query.service.is_empty() || query.service == group.service;
        let level = query.level.is_empty() || query.level == group.level;
        let person = (query.user.is_empty() || query.user == group.user)
            && query.attribution.is_none_or(|a| a == group.attribution);
        if service && level && person {
            self.total += count;
        }
        if service && level {
            for (slot, attribution) in self.attributions.iter_mut().zip(Attribution::ALL) {
                *slot += if attribution == group.attribution {
                    count
                } else {
                    0
                };
            }
            if !group.user.is_empty() {
                *self.users.entry(group.user).or_default() += count;
            }
        }
        if level && person {
            *self.services.entry(group.service).or_default() += count;
        }
        if service && person {
            *self.levels.entry(group.level).or_default() += count;
        }
    }

    fn into_facets(self) -> Facets {
        let mut levels: Vec<_> = self.levels.into_iter().collect();
        levels.sort_by_key(|(level, _)| {
            std::cmp::Reverse(model::line::Severity::parse(level.as_bytes()))
        });
        levels.truncate(FACET_VALUES_MAX);
        Facets {
            total: self.total,
            partial: false,
            services: most_frequent(self.services),
            levels,
            users: most_frequent(self.users),
            attributions: Attribution::ALL
                .into_iter()
                .zip(self.attributions)
                .filter(|(_, count)| *count > 0)
                .collect(),
        }
    }
}

fn most_frequent(counts: BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(FACET_VALUES_MAX);
    counts
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time, self.document)
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (time, document) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self {
            time: time.parse()?,
            document: document.parse()?,
        })
    }
}
