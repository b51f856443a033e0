//! What the answer to a bulk request means, item by item. No socket, no clock.
//!
//! ```text
//! {"errors":true,"items":[{"create":{"status":201}},
//!                         {"create":{"status":400,"error":{"type":"…","reason":"…"}}}]}
//! ```
//! Items stand in the order of the request. An answer is believed only as a whole: if it is cut, is
//! no JSON, or has another number of items, nothing is known and everything is sent again, which is
//! harmless because documents carry ids.

use std::borrow::Cow;
use std::fmt;

use http::StatusCode;
use net::Reply;
use pipeline::output::ItemOutcome;
use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Error;

/// What the server should leave out of its answers: everything we do not read.
pub(crate) const BULK: &str =
    "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason";
/// How much of the server's own words is repeated, in characters.
const SAID_CHARS_MAX: usize = 300;

/// What became of the items, or of the request as a whole.
pub(crate) enum Verdict {
    /// One outcome an item.
    Items(Vec<ItemOutcome>),
    /// The request is too large for the server.
    TooLarge,
}

/// Judges the answer to a request of `sent` items that went to `url`.
pub(crate) fn judge(reply: &Reply, sent: usize, url: &str) -> Result<Verdict, Error> {
    let status = reply.status.as_u16();
    let said = shorten(&String::from_utf8_lossy(&reply.body));
    match reply.status {
        status if status.is_success() => read_items(&reply.body, sent).map(Verdict::Items),
        StatusCode::PAYLOAD_TOO_LARGE => Ok(Verdict::TooLarge),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Denied { status, said }),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Err(Error::Busy {
            status,
            after: reply.retry_after(),
            said,
        }),
        _ => Err(Error::Status {
            status,
            url: url.to_owned(),
            said,
        }),
    }
}

fn read_items(body: &[u8], sent: usize) -> Result<Vec<ItemOutcome>, Error> {
    let not_bulk = |problem| Error::NotBulk {
        problem,
        said: shorten(&String::from_utf8_lossy(body)),
    };
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        not_bulk(match error.classify() {
            serde_json::error::Category::Eof => "it is cut",
            serde_json::error::Category::Data => "its form is another",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "no JSON",
        })
    })?;
    let Items(outcomes) = answer.items.ok_or_else(|| not_bulk("it has no items"))?;
    if outcomes.len() != sent {
        return Err(Error::Count {
            answered: outcomes.len(),
            sent,
        });
    }
    Ok(outcomes)
}

/// What the status and error of one item mean.
fn outcome(item: Item<'_>) -> ItemOutcome {
    let kind = item.error.as_ref().map_or("", |error| &error.kind);
    let label = match item.status {
        200 | 201 => return ItemOutcome::Delivered,
        409 => return ItemOutcome::Duplicate,
        429 => return retry("item_429"),
        408 => return retry("item_408"),
        500..=599 => return retry("item_5xx"),
        400 if is_mapping(kind) => "mapping",
        400 => "item_400",
        403 => "item_403",
        404 => "item_404",
        413 => "item_413",
        401..=499 => "item_4xx",
        _ => return retry("item_other"),
    };
    let reason = item.error.map_or_else(
        || format!("status {}", item.status),
        |error| shorten(&format!("{}: {}", error.kind, error.reason)),
    );
    ItemOutcome::Rejected { label, reason }
}

const fn retry(label: &'static str) -> ItemOutcome {
    ItemOutcome::Retry { label }
}

fn is_mapping(kind: &str) -> bool {
    matches!(
        kind,
        "mapper_parsing_exception"
            | "document_parsing_exception"
            | "strict_dynamic_mapping_exception"
            | "mapper_exception"
    )
}

/// The server's own words as they may stand in a log line.
pub(crate) fn shorten(words: &str) -> String {
    words
        .chars()
        .take(SAID_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[derive(Deserialize)]
struct Answer {
    items: Option<Items>,
}

/// The outcomes of the items, judged while they are read so that no tree of the answer is built.
struct Items(Vec<ItemOutcome>);

/// `{"create": {…}}`: the name of the action does not matter.
struct Action<'a>(Item<'a>);

#[derive(Deserialize)]
struct Item<'a> {
    status: u16,
    #[serde(borrow, default)]
    error: Option<Failure<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seq;
        impl<'de> Visitor<'de> for Seq {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Items, A::Error> {
                let mut outcomes = Vec::new();
                while let Some(Action(item)) = items.next_element()? {
                    outcomes.push(outcome(item));
                }
                Ok(Items(outcomes))
            }
        }
        deserializer.deserialize_seq(Seq)
    }
}

impl<'de> Deserialize<'de> for Action<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Action<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an action with its result")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Action<'de>, A::Error> {
                let Some((IgnoredAny, item)) = map.next_entry()? else {
                    return Err(de::Error::custom("an item names no action"));
                };
                if map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    return Err(de::Error::custom("an item names two actions"));
                }
                Ok(Action(item))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests;
