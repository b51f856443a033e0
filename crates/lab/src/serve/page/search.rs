//! The first page: lines, newest first, with facets.

use askama::Template;
use http::StatusCode;
use model::time::UnixNanos;

use super::lines::Line;
use super::{notice, render, text, unavailable};
use crate::serve::facts::Attribution;
use crate::serve::http::{Answer, App, Params, now, query_from};
use crate::serve::store::{Cursor, Facets, Query, counts};

/// Lines of one page.
const LIMIT: usize = 100;
/// The parameters that a link keeps, in the order in which they are written.
const KEYS: [&str; 8] = [
    "q",
    "user",
    "attribution",
    "service",
    "level",
    "trace",
    "from",
    "to",
];

#[derive(Template)]
#[template(path = "search.html")]
struct Page {
    form: Form,
    lines: Vec<Line>,
    facets: Vec<Facet>,
    total: String,
    documents: u64,
    documents_text: String,
    forward: String,
    older: Option<String>,
    newest: Option<String>,
    chips: Vec<Chip>,
}

/// What stands in the form.
struct Form {
    text: String,
    from: String,
    spans: Vec<(&'static str, &'static str, bool)>,
    kept: Vec<(&'static str, String)>,
}

struct Facet {
    title: &'static str,
    values: Vec<FacetValue>,
}

struct FacetValue {
    name: String,
    class: String,
    count: String,
    link: String,
    chosen: bool,
}

/// A filter that is set, with the link that takes it away.
struct Chip {
    key: &'static str,
    value: String,
    link: String,
}

/// `GET /`
pub(crate) async fn search(app: &App, params: &Params) -> Answer {
    let parsed = query_from(params, UnixNanos(now()))
        .and_then(|query| Ok((query, params.number::<Cursor>("cursor")?)));
    let (query, cursor) = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return notice(StatusCode::BAD_REQUEST, "Not understood", &reason),
    };
    let words = query.marked_words();
    let result = app
        .store
        .read(move |connection| {
            let found = query.page(connection, cursor, LIMIT)?;
            let facets = query.facets(connection)?;
            Ok((found, facets, counts(connection)?, query))
        })
        .await;
    let (found, facets, (documents, _), query) = match result {
        Ok(result) => result,
        Err(error) => return unavailable(&error),
    };
    let lines = found.documents.iter();
    let mut lines: Vec<Line> = lines
        .map(|(_, facts)| Line::in_list(facts, &words))
        .collect();
    head_days(&mut lines);
    let page = Page {
        form: form(params),
        lines,
        facets: facet_lists(&facets, &query, params),
        total: format!(
            "{}{}",
            if facets.partial { "at least " } else { "" },
            text::count(facets.total)
        ),
        documents,
        documents_text: text::count(documents),
        forward: app.forward.to_string(),
        older: found
            .next
            .map(|cursor| link(params, "cursor", &cursor.to_string())),
        newest: cursor.map(|_| link(params, "", "")),
        chips: chips(params),
    };
    render(StatusCode::OK, &page)
}

/// Gives the first line of each day the day as a heading.
fn head_days(lines: &mut [Line]) {
    let mut day = String::new();
    for line in lines {
        if line.day != day {
            day.clone_from(&line.day);
            line.heading = Some(day.clone());
        }
    }
}

fn form(params: &Params) -> Form {
    const SPANS: [(&str, &str); 5] = [
        ("", "any time"),
        ("5m", "last 5 minutes"),
        ("1h", "last hour"),
        ("1d", "last day"),
        ("7d", "last 7 days"),
    ];
    let from = params.get("from");
    let kept = ["user", "attribution", "service", "level", "trace", "to"];
    Form {
        text: params.get("q").to_owned(),
        from: from.to_owned(),
        spans: SPANS
            .iter()
            .map(|(value, name)| (*value, *name, *value == from))
            .collect(),
        kept: kept
            .into_iter()
            .map(|key| (key, params.get(key).to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect(),
    }
}

impl Form {
    /// A start that is none of the offered ones.
    fn own_from(&self) -> Option<&str> {
        let offered = self.spans.iter().any(|(_, _, chosen)| *chosen);
        (!offered).then_some(self.from.as_str())
    }
}

fn chips(params: &Params) -> Vec<Chip> {
    let set = KEYS.into_iter().filter(|key| !params.get(key).is_empty());
    set.map(|key| Chip {
        key,
        value: params.get(key).to_owned(),
        link: link(params, key, ""),
    })
    .collect()
}

fn facet_lists(facets: &Facets, query: &Query, params: &Params) -> Vec<Facet> {
    let list = |key: &'static str, chosen: &str, values: &[(String, u64)]| {
        let values = values.iter().filter(|(name, _)| !name.is_empty());
        values
            .map(|(name, count)| facet_value(key, name, *count, name == chosen, params))
            .collect()
    };
    let attributions = facets.attributions.iter().map(|(one, count)| {
        let chosen = query.attribution == Some(*one);
        let mut value = facet_value("attribution", one.name(), *count, chosen, params);
        attribution_title(*one).clone_into(&mut value.name);
        value
    });
    vec![
        Facet {
            title: "Person",
            values: list("user", &query.user, &facets.users),
        },
        Facet {
            title: "Proof",
            values: attributions.collect(),
        },
        Facet {
            title: "Service",
            values: list("service", &query.service, &facets.services),
        },
        Facet {
            title: "Level",
            values: list("level", &query.level, &facets.levels),
        },
    ]
}

fn attribution_title(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Person => "person proven",
        Attribution::Unproven => "person unproven",
        Attribution::Ambiguous => "ambiguous",
        Attribution::Background => "background work",
        Attribution::None => "no evidence",
    }
}

fn facet_value(
    key: &'static str,
    name: &str,
    count: u64,
    chosen: bool,
    params: &Params,
) -> FacetValue {
    FacetValue {
        class: match key {
            "service" => format!("dot c{}", text::colour(name)),
            "level" => format!("dot level-{}", text::level_class(name)),
            "attribution" => format!("dot person-{name}"),
            _ => "dot person-person".to_owned(),
        },
        name: name.to_owned(),
        count: text::count(count),
        link: link(params, key, if chosen { "" } else { name }),
        chosen,
    }
}

/// The address of this page with `key` set to `value`; without it if `value` is empty. The cursor is
/// not kept.
fn link(params: &Params, key: &str, value: &str) -> String {
    let mut link = String::from("/");
    for name in KEYS.into_iter().chain(["cursor"]) {
        let value = match name {
            _ if name == key => value,
            "cursor" => "",
            _ => params.get(name),
        };
        if !value.is_empty() {
            link.push(if link.len() == 1 { '?' } else { '&' });
            link.push_str(name);
            link.push('=');
            link.push_str(&text::encoded(value));
        }
    }
    link
}
