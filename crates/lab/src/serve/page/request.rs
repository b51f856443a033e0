//! The page of one request: who, what, where, and every line in order.

use askama::Template;
use http::StatusCode;

use super::lines::Line;
use super::{notice, render, text, unavailable};
use crate::serve::facts::Facts;
use crate::serve::http::{Answer, App};
use crate::serve::story::{Story, documents_of, span};

/// Lines that the page shows; the JSON API has more.
const LINES_MAX: usize = 5000;

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
    let (documents, more) = match documents_of(&app.store, trace).await {
        Ok(found) => found,
        Err(error) => return unavailable(&error),
    };
    if documents.is_empty() {
        let text = format!(
            "Nothing has arrived for the request {trace}. Its lines may still be on their way, or \
             its id is not complete."
        );
        return notice(StatusCode::NOT_FOUND, "No such request", &text);
    }
    let story = Story::tell(&documents);
    let mut legs: Vec<&Facts> = documents
        .iter()
        .map(|(_, facts)| facts)
        .filter(|facts| facts.request)
        .collect();
    legs.sort_by_key(|facts| span(facts).0);
    let lines = documents.iter().map(|(_, facts)| facts);
    let lines: Vec<&Facts> = lines.filter(|facts| !facts.request).collect();
    let first = legs.first();
    let services = story.services.iter();
    let page = Page {
        trace: trace.to_owned(),
        address: text::encoded(trace),
        title: first.map_or_else(
            || "Request".to_owned(),
            |facts| format!("{} {}", facts.http.method, facts.http.path),
        ),
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
        legs: legs.iter().map(|facts| leg(facts, &story)).collect(),
        services: services
            .map(|(name, count)| (name.clone(), text::colour(name), text::count(*count)))
            .collect(),
        lines: lines
            .iter()
            .take(LINES_MAX)
            .map(|facts| Line::in_request(facts, story.start))
            .collect(),
        lines_total: text::count(lines.len() as u64),
        cut: more || lines.len() > LINES_MAX,
    };
    render(StatusCode::OK, &page)
}

fn leg(facts: &Facts, story: &Story) -> Leg {
    let (start, end) = span(facts);
    let offset = start.saturating_sub(story.start);
    Leg {
        service: facts.service.clone(),
        colour: text::colour(&facts.service),
        what: format!("{} {}", facts.http.method, facts.http.path),
        status: facts.http.status,
        failed: facts.http.failed,
        status_class: text::status_class(facts.http.status, facts.http.failed),
        offset: text::offset(offset),
        duration: text::duration(facts.http.duration),
        left: share(offset, story),
        width: share(end.saturating_sub(start), story),
    }
}

/// `nanos` in percent of the whole request, with one decimal.
fn share(nanos: u64, story: &Story) -> String {
    let whole = u128::from(story.end.saturating_sub(story.start).max(1));
    let tenths = u128::from(nanos) * 1000 / whole;
    format!("{}.{}", tenths / 10, tenths % 10)
}
