//! The page of all services: how many requests, how many failed, how long they took.

use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;

use super::strip::Strip;
use super::{render, unavailable};
use crate::serve::http::{Answer, App, now};
use crate::serve::store::{Error, Sample, Store, sampled, samples};

/// The time that the page shows.
const SHOWN: u64 = 30 * 60 * 1_000_000_000;

#[derive(Template)]
#[template(path = "services.html")]
struct Page {
    strips: Vec<Strip>,
    /// What is wrong with which target.
    trouble: Vec<(String, String)>,
    is_scraping: bool,
}

/// `GET /services`
pub(crate) async fn services(app: &App) -> Answer {
    let to = now();
    let window = (to.saturating_sub(SHOWN), to);
    let found = match of(&app.store, window, None).await {
        Ok(found) => found,
        Err(error) => return unavailable(&error),
    };
    let state = app.scrapes.state();
    let page = Page {
        strips: draw(&found, window, None),
        is_scraping: !state.is_empty(),
        trouble: state
            .into_iter()
            .filter_map(|(name, trouble)| Some((name, trouble?)))
            .collect(),
    };
    render(StatusCode::OK, &page)
}

/// What was sampled in `window` of each service, or of those in `wanted`.
pub(super) async fn of(
    store: &Store,
    (from, to): (u64, u64),
    wanted: Option<Vec<String>>,
) -> Result<BTreeMap<String, Vec<Sample>>, Error> {
    let read = move |connection: &rusqlite::Connection| {
        let wanted = match wanted {
            Some(wanted) => wanted,
            None => sampled(connection)?,
        };
        let services = wanted.into_iter().map(|service| {
            let samples = samples(connection, &service, from, to)?;
            Ok((service, samples))
        });
        services.collect()
    };
    store.read(read).await
}

/// Draws those that have counted a request, from the first sample on if that is later than the beginning.
pub(super) fn draw(
    found: &BTreeMap<String, Vec<Sample>>,
    (from, to): (u64, u64),
    mark: Option<(u64, u64)>,
) -> Vec<Strip> {
    let firsts = found.values().filter_map(|samples| samples.first());
    let first = firsts.map(|first| first.time).min();
    let window = (first.map_or(from, |first| first.max(from)), to);
    let has_counted = |samples: &[Sample]| samples.iter().any(|one| one.requests > 0.0);
    let strips = found.iter();
    strips
        .filter(|(_, samples)| has_counted(samples))
        .filter_map(|(service, samples)| Strip::draw(service, samples, window, mark))
        .collect()
}
