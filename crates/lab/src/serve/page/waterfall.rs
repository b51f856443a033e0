//! The spans of a request as a tree on its time line.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::text;
use crate::serve::store::SpanRow;

/// Deepest nesting that is shown; what is deeper stands at this depth.
const DEPTH_MAX: usize = 48;
/// So many calls of the same name in a row are shown as one that can be opened.
const FOLDED_MIN: usize = 4;
/// Fields of a span that are shown.
const FIELDS_MAX: usize = 48;
/// Bytes of a field's value that are shown.
const VALUE_BYTES_MAX: usize = 600;

/// One span as it is shown, in the order of the tree.
pub(super) struct Row {
    /// Its place in the page; empty where another span of the page has the same id.
    pub(super) anchor: String,
    pub(super) indent: usize,
    /// Whether the next row is its first child.
    pub(super) opens: bool,
    /// How many of its parents end with it.
    pub(super) closes: usize,
    pub(super) service: String,
    pub(super) colour: u32,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) status_class: &'static str,
    pub(super) failed: bool,
    pub(super) offset: String,
    pub(super) duration: String,
    pub(super) left: String,
    pub(super) width: String,
    pub(super) fields: Vec<(String, String)>,
    /// How many lines name it, in words; empty if none does.
    pub(super) said: String,
    /// If it stands for several of the same kind in a row: all of them.
    pub(super) folded: Vec<Row>,
}

/// Puts `spans`, which are sorted by their start, on the time line from `start` to `end`. `said` is how
/// many lines name a span.
pub(super) fn rows(
    spans: &[SpanRow],
    (start, end): (u64, u64),
    said: &HashMap<&str, usize>,
) -> Vec<Row> {
    let order: Vec<Placed<'_>> = tree(spans)
        .into_iter()
        .filter_map(|(index, depth)| {
            let span = spans.get(index)?;
            let said = said.get(span.id.as_str()).copied().unwrap_or(0);
            Some(Placed { span, depth, said })
        })
        .collect();
    let mut seen = HashSet::new();
    let mut rows = Vec::with_capacity(order.len());
    let mut rest = order.as_slice();
    while let Some(first) = rest.first() {
        let length = match alike(rest) {
            FOLDED_MIN.. => alike(rest),
            _ => 1,
        };
        let (run, after) = rest.split_at(length);
        let next = after.first().map_or(0, |next| next.depth);
        let single = run.iter().map(|placed| {
            let mut row = row(placed.span, (start, end));
            row.indent = placed.depth;
            if seen.insert(placed.span.id.as_str()) {
                row.anchor.clone_from(&placed.span.id);
                row.said = lines(placed.said);
            }
            row
        });
        let mut single: Vec<Row> = single.collect();
        let mut row = match (single.len(), single.pop()) {
            (1, Some(row)) => row,
            (_, last) => fold(run, single.into_iter().chain(last).collect(), (start, end)),
        };
        row.opens = next > first.depth;
        row.closes = first.depth.saturating_sub(next);
        rows.push(row);
        rest = after;
    }
    rows
}

/// A span with its place in the tree, and how many lines name it.
struct Placed<'a> {
    span: &'a SpanRow,
    depth: usize,
    said: usize,
}

/// How many of the first spans are calls of the same name under the same parent, one after another,
/// of which there is nothing more to say.
fn alike(rest: &[Placed<'_>]) -> usize {
    let Some(first) = rest.first() else {
        return 0;
    };
    let key = |placed: &Placed<'_>| {
        let SpanRow {
            service,
            name,
            kind,
            ..
        } = placed.span;
        (placed.depth, service.clone(), name.clone(), kind.clone())
    };
    let wanted = key(first);
    let below = rest.iter().skip(1).map(|next| next.depth).chain([0]);
    rest.iter()
        .zip(below)
        .take_while(|(placed, next)| {
            let is_leaf = *next <= placed.depth && placed.depth < DEPTH_MAX;
            is_leaf && placed.said == 0 && !placed.span.failed && key(placed) == wanted
        })
        .count()
}

/// One row for all of `rows`.
fn fold(run: &[Placed<'_>], rows: Vec<Row>, (start, end): (u64, u64)) -> Row {
    let first = run.first().map_or(start, |first| first.span.start);
    let last = run.iter().map(|placed| placed.span.end).max();
    let took = |placed: &Placed<'_>| placed.span.end.saturating_sub(placed.span.start);
    let together: u64 = run.iter().map(took).fold(0, u64::saturating_add);
    let whole = end.saturating_sub(start);
    let template = rows.first();
    let text = |of: fn(&Row) -> &String| template.map(of).cloned().unwrap_or_default();
    Row {
        anchor: String::new(),
        indent: run.first().map_or(0, |first| first.depth),
        opens: false,
        closes: 0,
        service: text(|row| &row.service),
        colour: template.map_or(0, |row| row.colour),
        name: text(|row| &row.name),
        kind: text(|row| &row.kind),
        status: text(|row| &row.status),
        status_class: template.map_or("", |row| row.status_class),
        failed: false,
        offset: text::offset(first.saturating_sub(start)),
        duration: text::duration(together),
        left: text::share(first.saturating_sub(start), whole),
        width: text::share(last.unwrap_or(first).saturating_sub(first), whole),
        fields: Vec::new(),
        said: String::new(),
        folded: rows,
    }
}

fn lines(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    }
}

/// First and last moment of all spans and of `story`.
pub(super) fn range(spans: &[SpanRow], story: (u64, u64)) -> (u64, u64) {
    let (mut first, mut last) = story;
    for span in spans {
        if first == 0 || span.start < first {
            first = span.start;
        }
        last = last.max(span.end).max(span.start);
    }
    (first, last)
}

/// Every span once, each behind its parent, with its depth. A span whose parent is not there, or is
/// below it, is at the top.
fn tree(spans: &[SpanRow]) -> Vec<(usize, usize)> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (index, span) in spans.iter().enumerate() {
        first.entry(&span.id).or_insert(index);
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut tops = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let parent = match first.get(span.id.as_str()) {
            // Both sides of a call under one id, as B3 allows: the server is below the client.
            Some(other) if *other != index => Some(*other),
            _ => first.get(span.parent.as_str()).copied(),
        };
        match parent.and_then(|parent| children.get_mut(parent)) {
            Some(of_parent) => of_parent.push(index),
            None => tops.push(index),
        }
    }
    let mut placed = vec![false; spans.len()];
    let mut order = Vec::with_capacity(spans.len());
    // Behind the tops come those that only a circle holds together.
    for top in tops.into_iter().chain(0..spans.len()) {
        let mut waiting = vec![(top, 0)];
        while let Some((index, depth)) = waiting.pop() {
            match placed.get_mut(index) {
                Some(placed) if !*placed => *placed = true,
                _ => continue,
            }
            order.push((index, depth));
            let below = children.get(index).into_iter().flatten().rev();
            waiting.extend(below.map(|child| (*child, (depth + 1).min(DEPTH_MAX))));
        }
    }
    order
}

fn row(span: &SpanRow, (start, end): (u64, u64)) -> Row {
    let document: Map<String, Value> = serde_json::from_str(&span.json).unwrap_or_default();
    let status = status(&document, span.failed);
    let offset = span.start.saturating_sub(start);
    let took = span.end.saturating_sub(span.start);
    let whole = end.saturating_sub(start);
    Row {
        anchor: String::new(),
        indent: 0,
        opens: false,
        closes: 0,
        service: span.service.clone(),
        colour: text::colour(&span.service),
        name: span.name.clone(),
        kind: match span.kind.as_str() {
            "internal" | "unspecified" => String::new(),
            kind => kind.to_owned(),
        },
        status_class: text::status_class(status.parse().unwrap_or(0), span.failed),
        status,
        failed: span.failed,
        offset: text::offset(offset),
        duration: text::duration(took),
        left: text::share(offset, whole),
        width: text::share(took, whole),
        fields: fields(&document),
        said: String::new(),
        folded: Vec::new(),
    }
}

fn status(document: &Map<String, Value>, failed: bool) -> String {
    let attribute = |key: &str| {
        let value = document.get("attributes")?.get(key)?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    let known = attribute("http.response.status_code").filter(|status| status.len() == 3);
    known.unwrap_or_else(|| if failed { "error" } else { "ok" }.to_owned())
}

/// What a span says of itself, as names and texts.
fn fields(document: &Map<String, Value>) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for (key, value) in document {
        match (key.as_str(), value) {
            ("attributes", Value::Object(pairs)) => {
                fields.extend(pairs.iter().map(|(key, value)| (key.clone(), shown(value))));
            }
            ("resource", Value::Object(pairs)) => {
                let pairs = pairs.iter();
                fields.extend(pairs.map(|(key, value)| (format!("resource {key}"), shown(value))));
            }
            ("events", Value::Array(events)) => fields.extend(events.iter().map(event)),
            ("links", Value::Array(links)) => fields.extend(links.iter().map(link)),
            ("status_message", value) => fields.push(("status message".to_owned(), shown(value))),
            (key, value) => fields.push((key.to_owned(), shown(value))),
        }
    }
    fields.truncate(FIELDS_MAX);
    fields
}

fn event(event: &Value) -> (String, String) {
    let part = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let clock = part("time").get(11..23).unwrap_or_default();
    let more = event.get("attributes").and_then(Value::as_object);
    let more = more.filter(|more| !more.is_empty()).map(|more| {
        let pairs = more
            .iter()
            .map(|(key, value)| format!("{key}={}", shown(value)));
        format!(" {}", pairs.collect::<Vec<_>>().join(" "))
    });
    let text = format!("{}{}", part("name"), more.unwrap_or_default());
    (format!("event {clock}"), shorten(&text))
}

fn link(link: &Value) -> (String, String) {
    let part = |key: &str| link.get(key).and_then(Value::as_str).unwrap_or_default();
    (
        "link".to_owned(),
        format!("{} {}", part("trace"), part("span")),
    )
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => shorten(text),
        other => shorten(&other.to_string()),
    }
}

fn shorten(value: &str) -> String {
    let (value, cut) = text::shorten(value, VALUE_BYTES_MAX);
    format!("{value}{}", if cut { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, start: u64) -> SpanRow {
        SpanRow {
            id: id.to_owned(),
            parent: parent.to_owned(),
            start,
            end: start + 10,
            json: "{}".to_owned(),
            ..SpanRow::default()
        }
    }

    fn shape(spans: &[SpanRow]) -> Vec<(String, usize)> {
        let order = tree(spans).into_iter();
        order
            .map(|(index, depth)| (spans[index].id.clone(), depth))
            .collect()
    }

    fn expected(rows: &[(&str, usize)]) -> Vec<(String, usize)> {
        rows.iter()
            .map(|(id, depth)| ((*id).to_owned(), *depth))
            .collect()
    }

    #[test]
    fn children_stand_behind_their_parents_by_time() {
        let spans = [
            span("a", "", 0),
            span("b", "a", 1),
            span("c", "a", 2),
            span("d", "b", 3),
            span("lost", "nobody", 4),
        ];
        let rows = [("a", 0), ("b", 1), ("d", 2), ("c", 1), ("lost", 0)];
        assert_eq!(shape(&spans), expected(&rows));
        let rows = super::rows(&spans, (0, 14), &HashMap::from([("d", 2)]));
        let nesting: Vec<_> = rows.iter().map(|row| (row.opens, row.closes)).collect();
        assert_eq!(
            nesting,
            [(true, 0), (true, 0), (false, 1), (false, 1), (false, 0)]
        );
        assert_eq!(rows[2].said, "2 lines");
        assert_eq!(
            (rows[2].left.as_str(), rows[2].width.as_str()),
            ("21.4", "71.4")
        );
    }

    #[test]
    fn circles_and_shared_ids_end() {
        let circle = [span("a", "b", 0), span("b", "a", 1), span("c", "c", 2)];
        assert_eq!(shape(&circle), expected(&[("a", 0), ("b", 1), ("c", 0)]));
        let shared = [span("a", "", 0), span("b", "a", 1), span("b", "a", 2)];
        assert_eq!(shape(&shared), expected(&[("a", 0), ("b", 1), ("b", 2)]));
        let rows = super::rows(&shared, (0, 12), &HashMap::new());
        assert_eq!(rows[2].anchor, "", "an id stands once in a page");
    }

    #[test]
    fn the_deepest_tree_is_bounded() {
        let mut spans = vec![span("0", "", 0)];
        for number in 1..500_u64 {
            spans.push(span(&number.to_string(), &(number - 1).to_string(), number));
        }
        let rows = super::rows(&spans, (0, 600), &HashMap::new());
        assert_eq!(rows.len(), 500);
        assert_eq!(rows.iter().map(|row| row.indent).max(), Some(DEPTH_MAX));
        let opened = rows.iter().filter(|row| row.opens).count();
        assert_eq!(opened, rows.iter().map(|row| row.closes).sum::<usize>());
    }

    #[test]
    fn calls_that_are_alike_are_folded() {
        let mut spans = vec![span("top", "", 0)];
        for number in 1..=9 {
            let mut one = span(&format!("c{number}"), "top", number);
            one.name = if number == 5 { "find" } else { "put" }.to_owned();
            one.failed = number == 9;
            spans.push(one);
        }
        let said = HashMap::from([("c6", 1)]);
        let rows = super::rows(&spans, (0, 20), &said);
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.folded.len(), row.opens, row.closes))
            .collect();
        let expected = [
            ("", 0, true, 0),
            ("put", 4, false, 0),
            ("find", 0, false, 0),
            ("put", 0, false, 0),
            ("put", 0, false, 0),
            ("put", 0, false, 0),
            ("put", 0, false, 1),
        ];
        assert_eq!(
            shown, expected,
            "neither few, nor with lines, nor failed ones"
        );
        assert_eq!(rows[1].duration, "40 ns");
        assert_eq!(
            (rows[1].left.as_str(), rows[1].width.as_str()),
            ("5.0", "65.0")
        );
        let anchors: Vec<_> = rows[1]
            .folded
            .iter()
            .map(|row| row.anchor.as_str())
            .collect();
        assert_eq!(anchors, ["c1", "c2", "c3", "c4"]);
    }

    #[test]
    fn what_a_span_says_is_shown() {
        let failed = SpanRow {
            failed: true,
            json: r#"{"attributes":{"http.response.status_code":503,"user.id":"carol"},
                "events":[{"time":"2026-11-23T04:09:37.500Z","name":"retry","attributes":{"n":1}}],
                "links":[{"trace":"t","span":"s"}],"resource":{"service.name":"rsync"},
                "status_message":"away"}"#
                .to_owned(),
            ..span("a", "", 5)
        };
        let row = row(&failed, (0, 20));
        assert_eq!(
            (row.status.as_str(), row.status_class),
            ("503", "status failed")
        );
        let field = |name: &str| {
            let found = row.fields.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(field("event 04:09:37.500"), Some("retry n=1"));
        assert_eq!(field("link"), Some("t s"));
        assert_eq!(field("user.id"), Some("carol"));
        assert_eq!(field("resource service.name"), Some("rsync"));
        assert_eq!(field("status message"), Some("away"));
    }
}
