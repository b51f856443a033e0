//! The protocol between pods: JSON over HTTP/1.1, version 1. Pure bytes.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v1/tell` | [`Tell`] | 200 [`Receipt`] |
//! | `POST /v1/ask` | [`Question`] | 200 [`Reply`], at the latest after `wait_ms` |
//! | `POST /v1/access-log` | one JSON object a line, as Envoy writes them | 200 [`Receipt`] |
//! | `GET /health` | | 200 |
//!
//! Everything else is answered with a status and [`Refusal`]. Each message says its version. A reader
//! takes its own version and the one before (there is none yet), refuses others, steps over members
//! it does not know, and counts facts of a kind it does not know as `ignored`. A `trace_user` without
//! `until` (the first writers of version 1) tells of a request's beginning and not of its end.
//!
//! # Asking
//! A question names traces and `AppContext`s, and may say what the asker has seen: `hub` and `after`
//! from an earlier reply. The reply has what is newer than `after`; everything, if `hub` is not the
//! name of this hub's present life (it forgot, or it is another replica). If there is nothing, the
//! hub waits up to `wait_ms` (at most 30 000) for something to become known.

use std::sync::Arc;

use model::fact::{Fact, Operation, TraceUser};
use model::ids::TraceId;
use model::time::UnixNanos;
use model::verdict::{User, UserSource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The protocol's version.
pub const VERSION: u32 = 1;
/// Longest wait that a hub grants.
pub(crate) const WAIT_MS_MAX: u64 = 30_000;
/// Longest body either side reads, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;
/// Most things one question may name.
pub(crate) const ASKED_MAX: usize = 16_384;
/// Longest user, `AppContext`, action or service name that is taken, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Facts that a peer states.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tell {
    #[serde(default)]
    pub(crate) version: u32,
    pub(crate) facts: Vec<WireFact>,
}

/// What became of facts or access records that were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Receipt {
    pub(crate) version: u32,
    /// The hub's present life.
    pub(crate) hub: u64,
    /// Not known before.
    pub(crate) new: u64,
    /// Known already.
    pub(crate) known: u64,
    /// Contradicting what is known.
    pub(crate) conflicts: u64,
    /// The peer may not state them.
    pub(crate) refused: u64,
    /// Of an unknown kind, or not readable.
    pub(crate) ignored: u64,
}

/// What a peer wants to know.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Question {
    pub(crate) version: u32,
    pub(crate) hub: u64,
    pub(crate) after: u64,
    pub(crate) traces: Vec<String>,
    pub(crate) app_contexts: Vec<Arc<str>>,
    pub(crate) wait_ms: u64,
}

/// What the hub knows.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reply {
    pub(crate) version: u32,
    pub(crate) hub: u64,
    /// For the next question's `after`.
    pub(crate) upto: u64,
    pub(crate) facts: Vec<WireFact>,
}

/// Why a request was not served.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) version: u32,
    pub(crate) error: String,
}

/// A fact, or what is known of a trace's person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum WireFact {
    /// A request of a trace was made by a user. There may be several for one trace.
    TraceUser {
        trace: String,
        user: Arc<str>,
        source: String,
        at: u64,
        /// The largest number while the request runs. A peer that leaves it out does not know.
        #[serde(default)]
        until: u64,
        #[serde(default)]
        exclusive: bool,
    },
    /// A request acts on an `AppContext`.
    Operation {
        trace: String,
        app_context: Arc<str>,
        action: Arc<str>,
        service: Arc<str>,
        at: u64,
    },
    /// A trace has two users; only a hub says so.
    Conflict { trace: String },
    /// A later version's kind.
    #[serde(other)]
    Unknown,
}

impl WireFact {
    /// The fact, if it is one and all its parts can be read.
    pub(crate) fn fact(self) -> Option<Fact> {
        match self {
            Self::TraceUser {
                trace,
                user,
                source,
                at,
                until,
                exclusive,
            } if is_name(&user) => Some(Fact::TraceUser(TraceUser {
                trace: TraceId::parse(trace.as_bytes())?,
                user: User {
                    id: user,
                    source: UserSource::parse(&source)?,
                },
                at: UnixNanos(at),
                until: UnixNanos(until.max(at)),
                exclusive,
            })),
            Self::Operation {
                trace,
                app_context,
                action,
                service,
                at,
            } if is_name(&app_context)
                && action.len() <= NAME_BYTES_MAX
                && service.len() <= NAME_BYTES_MAX =>
            {
                Some(Fact::Operation(Operation {
                    trace: TraceId::parse(trace.as_bytes())?,
                    app_context,
                    action,
                    service,
                    at: UnixNanos(at),
                }))
            }
            _ => None,
        }
    }
}

impl From<&Fact> for WireFact {
    fn from(fact: &Fact) -> Self {
        match fact {
            Fact::TraceUser(fact) => Self::TraceUser {
                trace: fact.trace.to_string(),
                user: Arc::clone(&fact.user.id),
                source: fact.user.source.name().to_owned(),
                at: fact.at.0,
                until: fact.until.0,
                exclusive: fact.exclusive,
            },
            Fact::Operation(fact) => Self::Operation {
                trace: fact.trace.to_string(),
                app_context: Arc::clone(&fact.app_context),
                action: Arc::clone(&fact.action),
                service: Arc::clone(&fact.service),
                at: fact.at.0,
            },
        }
    }
}

/// What a hub answers: it says which life of the hub it comes from.
pub(crate) trait FromHub: DeserializeOwned {
    fn life(&self) -> u64;
}

impl FromHub for Receipt {
    fn life(&self) -> u64 {
        self.hub
    }
}

impl FromHub for Reply {
    fn life(&self) -> u64 {
        self.hub
    }
}

/// Reads a message of a version that is known.
pub(crate) fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, Error> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        version: u32,
    }
    // The version first: a later version may differ in everything else.
    let head: Head = serde_json::from_slice(body).map_err(Error::NotProtocol)?;
    if head.version != VERSION {
        return Err(Error::Version {
            theirs: head.version,
        });
    }
    serde_json::from_slice(body).map_err(Error::NotProtocol)
}

/// Writes a message; the messages of this module cannot fail to be written.
pub(crate) fn encode(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

/// Whether a text can name a person or an object.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX
}
