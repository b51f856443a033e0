//! The JSON API: search, one request, figures.

use http::StatusCode;
use model::time::UnixNanos;
use serde_json::{Value, json};

use super::answer::{Answer, json_answer};
use super::params::{Params, query_from};
use super::routes::App;
use crate::serve::facts::Facts;
use crate::serve::store::{self, Cursor, Facets, Lane};
use crate::serve::story::{Story, documents_of};

/// Documents of one page if nobody says otherwise, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// `GET /api/v1/search`
pub(super) async fn search(app: &App, params: &Params) -> Answer {
    let parsed = query_from(params, UnixNanos(super::now())).and_then(|query| {
        let cursor: Option<Cursor> = params.number("cursor")?;
        let limit = params.number("limit")?.unwrap_or(LIMIT).min(LIMIT_MAX);
        Ok((query, cursor, limit))
    });
    let (query, cursor, limit) = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return failed(StatusCode::BAD_REQUEST, &reason),
    };
    let result = app
        .store
        .read(move |connection| {
            let found = query.page(connection, cursor, limit)?;
            Ok((found, query.facets(connection)?))
        })
        .await;
    match result {
        Ok((found, facets)) => json_answer(
            StatusCode::OK,
            &json!({
                "documents": found.documents.iter().map(summary).collect::<Vec<_>>(),
                "next": found.next.map(|cursor| cursor.to_string()),
                "facets": facets_json(&facets),
                "total": facets.total,
                "partial": facets.partial,
            }),
        ),
        Err(error) => unavailable(&error),
    }
}

/// `GET /api/v1/request/{trace}`
pub(super) async fn request(app: &App, trace: &str) -> Answer {
    let (documents, more) = match documents_of(&app.store, trace).await {
        Ok(found) => found,
        Err(error) => return unavailable(&error),
    };
    if documents.is_empty() {
        let reason = format!("nothing is known of request {trace:?}");
        return failed(StatusCode::NOT_FOUND, &reason);
    }
    let story = Story::tell(&documents);
    let user = story.user.as_ref();
    json_answer(
        StatusCode::OK,
        &json!({
            "trace": trace,
            "user": user.map(|user| &user.id),
            "user_source": user.map(|user| &user.source),
            "contradiction": story.contradiction,
            "start_ns": story.start,
            "end_ns": story.end,
            "services": story.services,
            "requests": documents.iter().filter(|(_, facts)| facts.request)
                .map(summary).collect::<Vec<_>>(),
            "lines": documents.iter().filter(|(_, facts)| !facts.request)
                .map(summary).collect::<Vec<_>>(),
            "truncated": more,
        }),
    )
}

/// `GET /api/v1/stats`
pub(super) async fn stats(app: &App) -> Answer {
    match app.store.read(store::counts).await {
        Ok((documents, indexed)) => {
            let lane = |lane: Lane| {
                let stored = |outcome| app.metrics.stored(lane, outcome);
                json!({
                    "created": stored("created"),
                    "duplicate": stored("duplicate"),
                    "updated": stored("updated"),
                })
            };
            json_answer(
                StatusCode::OK,
                &json!({
                    "documents": documents,
                    "index_lag": documents.saturating_sub(indexed),
                    "since_start": {
                        "forward": lane(Lane::Forward),
                        "elastic": lane(Lane::Elastic),
                    },
                    "uptime_seconds": app.started.elapsed().as_secs(),
                }),
            )
        }
        Err(error) => unavailable(&error),
    }
}

/// An error as this API says it.
pub(super) fn failed(status: StatusCode, reason: &str) -> Answer {
    json_answer(status, &json!({ "error": reason }))
}

/// The store did not answer.
pub(super) fn unavailable(error: &store::Error) -> Answer {
    tracing::error!(%error, "a request could not be answered");
    failed(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

fn summary((json, facts): &(String, Facts)) -> Value {
    let document: Value = serde_json::from_str(json).unwrap_or(Value::Null);
    json!({
        "id": facts.id,
        "kind": if facts.request { "request" } else { "line" },
        "time_ns": facts.time,
        "service": facts.service,
        "level": facts.level,
        "message": facts.message,
        "trace": facts.trace,
        "user": facts.user,
        "user_source": facts.user_source,
        "attribution": facts.attribution().name(),
        "rule": facts.rule,
        "document": document,
    })
}

fn facets_json(facets: &Facets) -> Value {
    let list = |values: &[(String, u64)]| -> Vec<Value> {
        let values = values.iter();
        values
            .map(|(value, count)| json!({"value": value, "count": count}))
            .collect()
    };
    let attributions = facets.attributions.iter();
    json!({
        "service": list(&facets.services),
        "level": list(&facets.levels),
        "user": list(&facets.users),
        "attribution": attributions
            .map(|(one, count)| json!({"value": one.name(), "count": count}))
            .collect::<Vec<_>>(),
    })
}
