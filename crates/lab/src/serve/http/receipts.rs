//! `GET /api/v1/receipts`: what each lane received, as a stream of JSON lines.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::mpsc;

use super::answer::{Answer, Content, answer};
use super::api::{failed, unavailable};
use super::params::Params;
use crate::serve::store::{Lane, ReceiptQuery, Store};

/// Receipts that are read at once.
const STEP: usize = 2000;
/// Receipts that are answered in one piece, with its length; more are streamed.
const PIECE_MAX: usize = 20_000;
const CONTENT_TYPE: &str = "application/x-ndjson";

/// Answers receipts; a limit of 0 or none means all that are there.
pub(super) async fn receipts(store: &Store, params: &Params) -> Answer {
    let query = match query(params) {
        Ok(query) => query,
        Err(reason) => return failed(StatusCode::BAD_REQUEST, &reason),
    };
    if query.limit <= PIECE_MAX {
        return match store.read(move |connection| query.page(connection)).await {
            Ok(page) => answer(StatusCode::OK, CONTENT_TYPE, page.lines),
            Err(error) => unavailable(&error),
        };
    }
    let (pieces, content) = mpsc::channel(2);
    tokio::spawn(stream(store.clone(), query, pieces));
    let mut answer = Response::new(Content::Stream(content));
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    answer
}

fn query(params: &Params) -> Result<ReceiptQuery, String> {
    let lane =
        match params.get("lane") {
            "" => None,
            name => Some(Lane::parse(name).ok_or_else(|| {
                format!("parameter lane: {name:?} is neither forward nor elastic")
            })?),
        };
    Ok(ReceiptQuery {
        lane,
        after: params.number("after")?.unwrap_or(0),
        limit: match params.number("limit")?.unwrap_or(0) {
            0 => usize::MAX,
            limit => limit,
        },
        whole: params.get("whole") == "true",
    })
}

async fn stream(
    store: Store,
    mut query: ReceiptQuery,
    pieces: mpsc::Sender<std::io::Result<Bytes>>,
) {
    let mut left = query.limit;
    while left > 0 {
        query.limit = left.min(STEP);
        let step = query;
        let page = store.read(move |connection| step.page(connection)).await;
        let (piece, full) = match page {
            Ok(page) => {
                query.after = page.last;
                left -= page.count.min(left);
                (Ok(Bytes::from(page.lines)), page.count == step.limit)
            }
            Err(error) => {
                tracing::error!(%error, "receipts could not be read to their end");
                (Err(std::io::Error::other(error)), false)
            }
        };
        // A reader that went away needs no more.
        if pieces.send(piece).await.is_err() || !full {
            return;
        }
    }
}
