//! The page of one request: who, what, where, and every line in order.

use std::collections::{BTreeSet, HashMap, HashSet};

use askama::Template;
use http::StatusCode;
use rusqlite::Connection;

use super::lines::Line;
use super::strip::Strip;
use super::{notice, render, services, text, unavailable, waterfall};
use crate::serve::facts::Facts;
use crate::serve::http::{Answer, App, now};
use crate::serve::store::{Error, SpanRow, spans_of};
use crate::serve::story::{Story, documents_of, span};

/// Lines that the page shows; the JSON API has more.
const LINES_MAX: usize = 5000;
/// Spans that the page shows; the JSON API has more.
const SPANS_MAX: usize = 2000;
/// How much of the services' time before and after the request is shown, in nanoseconds.
const AROUND: u64 = 5 * 60 * 1_000_000_000;

#[derive(Template)]
#[template(path = "request.html")]
struct Page {
    trace: String,
    /// The trace as a part of an address.
    address: String,
    title: String,
    status: u64,
    status_class: &'static str,
    person: Option<(String, &'static str)>,
    contradiction: bool,
    day: String,
    clock: String,
    duration: String,
    legs: Vec<Leg>,
    services: Vec<(String, u32, String)>,
    lines: Vec<Line>,
    lines_total: String,
    cut: bool,
    spans: Vec<waterfall::Row>,
    spans_total: String,
    failed_total: String,
    spans_cut: bool,
    strips: Vec<Strip>,
}

/// What one service did for the request, as a bar on the time line.
struct Leg {
    service: String,
    colour: u32,
    what: String,
    status: u64,
    failed: bool,
    status_class: &'static str,
    offset: String,
    duration: String,
    left: String,
    width: String,
}

/// `GET /request/{trace}`
pub(crate) async fn request(app: &App, trace: &str) -> Answer {
    match tell(app, trace).await {
        Ok(Some(page)) => render(StatusCode::OK, &page),
        Ok(None) => {
            let text = format!(
                "Nothing has arrived for the request {trace}. Its lines may still be on their way, \
                 or its id is not complete."
            );
            notice(StatusCode::NOT_FOUND, "No such request", &text)
        }
        Err(error) => unavailable(&error),
    }
}

async fn tell(app: &App, trace: &str) -> Result<Option<Page>, Error> {
    let (documents, more) = documents_of(&app.store, trace).await?;
    let key = trace.to_ascii_lowercase();
    let read = move |connection: &Connection| spans_of(connection, &key, SPANS_MAX);
    let (spans, spans_cut) = app.store.read(read).await?;
    if documents.is_empty() && spans.is_empty() {
        return Ok(None);
    }
    let mut story = Story::tell(&documents);
    (story.start, story.end) = waterfall::range(&spans, (story.start, story.end));
    let window = (
        story.start.saturating_sub(AROUND),
        story.end.saturating_add(AROUND).min(now().max(story.end)),
    );
    let sampled = services::of(&app.store, window, Some(services_of(&story, &spans))).await?;
    let mut page = page(trace, &documents, &story, &spans);
    page.cut |= more;
    page.spans_cut = spans_cut;
    page.strips = services::draw(&sampled, window, Some((story.start, story.end)));
    Ok(Some(page))
}

fn services_of(story: &Story, spans: &[SpanRow]) -> Vec<String> {
    let of_spans = spans.iter().map(|span| &span.service);
    let all: BTreeSet<_> = story.services.keys().chain(of_spans).cloned().collect();
    all.into_iter().collect()
}

fn page(trace: &str, documents: &[(String, Facts)], story: &Story, spans: &[SpanRow]) -> Page {
    let mut legs: Vec<&Facts> = documents
        .iter()
        .map(|(_, facts)| facts)
        .filter(|facts| facts.request)
        .collect();
    legs.sort_by_key(|facts| span(facts).0);
    let said: Vec<&Facts> = documents
        .iter()
        .map(|(_, facts)| facts)
        .filter(|facts| !facts.request)
        .collect();
    let first = legs.first();
    let services = story.services.iter();
    let failed = spans.iter().filter(|span| span.failed).count();
    Page {
        trace: trace.to_owned(),
        address: text::encoded(trace),
        title: title(first.copied(), spans),
        status: first.map_or(0, |facts| facts.http.status),
        status_class: first.map_or("", |facts| {
            text::status_class(facts.http.status, facts.http.failed)
        }),
        person: story
            .user
            .as_ref()
            .map(|user| (user.id.clone(), text::proof(&user.source))),
        contradiction: story.contradiction,
        day: text::day(story.start),
        clock: text::clock(story.start),
        duration: text::duration(story.end.saturating_sub(story.start)),
        legs: legs.iter().map(|facts| leg(facts, story)).collect(),
        services: services
            .map(|(name, count)| (name.clone(), text::colour(name), text::count(*count)))
            .collect(),
        lines: lines(&said, story, spans),
        lines_total: text::count(said.len() as u64),
        cut: said.len() > LINES_MAX,
        spans: waterfall::rows(spans, (story.start, story.end), &said_by_span(&said)),
        spans_total: text::count(spans.len() as u64),
        failed_total: match failed {
            0 => String::new(),
            failed => text::count(failed as u64),
        },
        spans_cut: false,
        strips: Vec::new(),
    }
}

/// What was asked for, as the request's own document says it, else the span above all others.
fn title(first: Option<&Facts>, spans: &[SpanRow]) -> String {
    match (first, spans.first()) {
        (Some(facts), _) => format!("{} {}", facts.http.method, facts.http.path),
        (None, Some(span)) => span.name.clone(),
        (None, None) => "Request".to_owned(),
    }
}

fn lines(said: &[&Facts], story: &Story, spans: &[SpanRow]) -> Vec<Line> {
    let known: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let mut seen = HashSet::new();
    let lines = said.iter().take(LINES_MAX).map(|facts| {
        let mut line = Line::in_request(facts, story.start);
        if known.contains(facts.span.as_str()) {
            line.span.clone_from(&facts.span);
            line.first_of_span = seen.insert(facts.span.as_str());
        }
        line
    });
    lines.collect()
}

fn said_by_span<'a>(said: &[&'a Facts]) -> HashMap<&'a str, usize> {
    let mut counts = HashMap::new();
    for facts in said.iter().filter(|facts| !facts.span.is_empty()) {
        *counts.entry(facts.span.as_str()).or_default() += 1;
    }
    counts
}

fn leg(facts: &Facts, story: &Story) -> Leg {
    let (start, end) = span(facts);
    let offset = start.saturating_sub(story.start);
    let whole = story.end.saturating_sub(story.start);
    Leg {
        service: facts.service.clone(),
        colour: text::colour(&facts.service),
        what: format!("{} {}", facts.http.method, facts.http.path),
        status: facts.http.status,
        failed: facts.http.failed,
        status_class: text::status_class(facts.http.status, facts.http.failed),
        offset: text::offset(offset),
        duration: text::duration(facts.http.duration),
        left: text::share(offset, whole),
        width: text::share(end.saturating_sub(start), whole),
    }
}
