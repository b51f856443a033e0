//! The spans as this API shows them, and what the scrapes said last.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{Answer, answer, json_answer};
use super::api::{failed, unavailable};
use super::params::Params;
use super::routes::{App, now};
use crate::serve::store::{SpanQuery, Store, sampled, samples};

/// Spans of one answer if nobody says otherwise, and at most.
const LIMIT: usize = 10_000;
const LIMIT_MAX: usize = 50_000;

/// `GET /api/v1/spans`: one JSON object a line, in the order of arrival.
pub(super) async fn spans(store: &Store, params: &Params) -> Answer {
    let query = match query(params) {
        Ok(query) => query,
        Err(reason) => return failed(StatusCode::BAD_REQUEST, &reason),
    };
    let whole = params.get("whole") == "true";
    let read = move |connection: &rusqlite::Connection| query.page(connection, whole);
    match store.read(read).await {
        Ok(lines) => answer(StatusCode::OK, "application/x-ndjson", lines),
        Err(error) => unavailable(&error),
    }
}

/// `GET /api/v1/spans/counts`
pub(super) async fn counts(store: &Store, params: &Params) -> Answer {
    let query = match query(params) {
        Ok(query) => query,
        Err(reason) => return failed(StatusCode::BAD_REQUEST, &reason),
    };
    match store.read(move |connection| query.counts(connection)).await {
        Ok(counts) => json_answer(StatusCode::OK, &json!(counts)),
        Err(error) => unavailable(&error),
    }
}

/// `GET /api/v1/services`
pub(super) async fn services(app: &App) -> Answer {
    let now = now();
    let read = app.store.read(move |connection| {
        let mut newest = Map::new();
        for service in sampled(connection)? {
            let sample = samples(connection, &service, now, now)?.pop();
            newest.insert(
                service,
                sample.map_or(Value::Null, |sample| {
                    json!({
                        "time_ns": sample.time,
                        "requests": sample.requests,
                        "errors": sample.errors,
                    })
                }),
            );
        }
        Ok(newest)
    });
    match read.await {
        Ok(newest) => {
            let answer = json!({ "services": newest, "scrapes": app.scrapes.state() });
            json_answer(StatusCode::OK, &answer)
        }
        Err(error) => unavailable(&error),
    }
}

fn query(params: &Params) -> Result<SpanQuery, String> {
    Ok(SpanQuery {
        trace: params.get("trace").to_ascii_lowercase(),
        service: params.get("service").to_owned(),
        after: params.number("after")?.unwrap_or(0),
        limit: params.number("limit")?.unwrap_or(LIMIT).min(LIMIT_MAX),
    })
}
