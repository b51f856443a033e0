//! Answers `_bulk`: reads the body piece by piece, stores groups of items, answers each item.

use std::time::Instant;

use http::{HeaderMap, StatusCode};
use hyper::body::Incoming as Body;
use net::body::Pieces;

use super::bulk::{self, Item, Parser};
use super::items::{Items, Outcome};
use super::{filter, info};
use crate::serve::document;
use crate::serve::http::{Answer, answer};
use crate::serve::metrics::Metrics;
use crate::serve::store::{self, Incoming, Lane, Store};

/// Longest body after decompression, in bytes, as Elasticsearch's default.
const BODY_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Most items of one request.
const ITEMS_MAX: usize = 200_000;
/// Items and bytes that are handed to the store at once.
const GROUP_ITEMS: usize = 1000;
const GROUP_BYTES: usize = 1024 * 1024;

/// Why a request is refused as a whole.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Body(#[from] net::Error),
    #[error("{0}")]
    Bulk(#[from] bulk::Error),
    #[error("more than {ITEMS_MAX} items in one request")]
    TooManyItems,
}

/// `POST /_bulk` and `POST /{index}/_bulk`
pub(crate) async fn bulk(
    store: &Store,
    metrics: &Metrics,
    index: Option<String>,
    filter_path: Option<&str>,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let began = Instant::now();
    let (outcome, response) = match take(store, index, headers, body).await {
        Ok(items) => {
            let text = items.finish(began.elapsed());
            ("answered", answer_items(text, filter_path))
        }
        Err(error) => ("refused", refuse(&error)),
    };
    metrics.bulk_requests.with_label_values(&[outcome]).inc();
    response
}

fn answer_items(text: Vec<u8>, filter_path: Option<&str>) -> Answer {
    let text = match filter_path {
        None => text,
        Some(paths) => match serde_json::from_slice(&text) {
            Ok(value) => filter::apply(value, paths).to_string().into_bytes(),
            Err(_) => text,
        },
    };
    info::product(answer(StatusCode::OK, "application/json", text))
}

fn refuse(error: &Error) -> Answer {
    let (status, kind) = match error {
        Error::Body(net::Error::BodyTooLong { .. }) | Error::TooManyItems => {
            (StatusCode::PAYLOAD_TOO_LARGE, "content_too_long_exception")
        }
        Error::Body(_) => (StatusCode::BAD_REQUEST, "parse_exception"),
        Error::Bulk(_) => (StatusCode::BAD_REQUEST, "illegal_argument_exception"),
    };
    tracing::warn!(%error, "bulk request refused");
    info::refused(status, kind, &error.to_string())
}

async fn take(
    store: &Store,
    index: Option<String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Items, Error> {
    let mut pieces = Pieces::new(body, headers, BODY_BYTES_MAX)?;
    let mut parser = Parser::new(index);
    let mut items = Items::default();
    let (mut group, mut bytes) = (Vec::new(), 0);
    while let Some(piece) = pieces.next().await? {
        parser.feed(&piece);
        while let Some(item) = parser.next()? {
            bytes += item.source.len();
            group.push(item);
            if items.count() + group.len() > ITEMS_MAX {
                return Err(Error::TooManyItems);
            }
            if group.len() >= GROUP_ITEMS || bytes >= GROUP_BYTES {
                put(store, std::mem::take(&mut group), bytes, &mut items).await;
                bytes = 0;
            }
        }
    }
    parser.finish()?;
    put(store, group, bytes, &mut items).await;
    Ok(items)
}

/// What is answered for an item: what it is, and how it went or is going.
struct Line {
    item: Item,
    refused: Option<Outcome>,
}

async fn put(store: &Store, group: Vec<Item>, bytes: usize, items: &mut Items) {
    if group.is_empty() {
        return;
    }
    let (mut lines, mut rows) = (Vec::with_capacity(group.len()), Vec::new());
    for mut item in group {
        let refused = match row(&mut item) {
            Ok(row) => {
                rows.push(row);
                None
            }
            Err(outcome) => Some(outcome),
        };
        lines.push(Line { item, refused });
    }
    let stored = match commit(store, rows, bytes).await {
        Ok(stored) => Ok(stored.into_iter()),
        Err(error) => Err(error.to_string()),
    };
    let mut stored = stored;
    for Line { item, refused } in lines {
        let outcome = refused.unwrap_or_else(|| match &mut stored {
            Ok(stored) => stored.next().map_or_else(
                || Outcome::Unavailable("the store is closed".to_owned()),
                Outcome::Stored,
            ),
            Err(reason) => Outcome::Unavailable(reason.clone()),
        });
        let id = item.id.unwrap_or_default();
        items.push(item.action, &item.index, &id, &outcome);
    }
}

async fn commit(
    store: &Store,
    rows: Vec<Incoming>,
    bytes: usize,
) -> Result<Vec<store::Stored>, store::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let room = store.room(bytes.saturating_mul(2)).await?;
    let pending = store.write(Lane::Elastic, rows, room).await?;
    pending.committed().await
}

/// The item as a document, or why it is refused; an item without id gets one.
fn row(item: &mut Item) -> Result<Incoming, Outcome> {
    if let Some(rule) = bulk::index_refusal(&item.index) {
        let reason = format!("Invalid index name [{}], {rule}", item.index);
        return Err(Outcome::Refused("invalid_index_name_exception", reason));
    }
    let Some(mode) = item.action.mode() else {
        let reason = format!("the lab takes no [{}]", item.action.name());
        return Err(Outcome::Refused("illegal_argument_exception", reason));
    };
    let refuse = |reason: String| Outcome::Refused("document_parsing_exception", reason);
    let json = String::from_utf8(std::mem::take(&mut item.source))
        .map_err(|error| refuse(format!("failed to parse: {}", error.utf8_error())))?;
    let row = document::from_bulk(item.index.clone(), item.id.clone(), mode, json)
        .map_err(|error| refuse(format!("failed to parse: {error}")))?;
    item.id = Some(row.id.clone());
    Ok(row)
}
