//! Facts between pods: who made a trace, and which request acts on which `AppContext`.
//!
//! ```text
//! ingress gateway's access log ──POST /v1/access-log──▶ ┌────────┐
//! sidecar A  HubHandle::tell ──────POST /v1/tell──────▶ │ Engine │  (each replica by itself)
//! sidecar B  HubHandle::ask_* ─────POST /v1/ask───────▶ │        │
//!            mpsc::Receiver<Learned> ◀── long-poll ──── └────────┘
//! ```
//!
//! Facts are immutable and small, so replicas need no consensus: a sidecar tells all of them and asks
//! any. A fact that is lost means "not attributed at ingest", never "attributed wrongly". Only a peer
//! that proves to be a first-hop proxy's reporter may say who a trace belongs to; the same trace with
//! two users is a conflict for good.
//!
//! | module | role |
//! |---|---|
//! | `wire` | the JSON protocol, version 1 |
//! | `access` | a line of the gateway's access log into a claim |
//! | `engine` | the store and the waiting questions; no socket, no clock |
//! | `server` | the HTTP handler, mountable |
//! | `outbox`, `questions` | the client's memory; no socket, no clock |
//! | `places` | which addresses the replicas have now |
//! | `remote` | tokens that a hub elsewhere judges |
//! | `client`, `replica`, `task` | the client's handle, sockets and loops |
//!
//! It deliberately does not know what facts are used for, Kubernetes, or where the gateway's log
//! comes from.
//!
//! ```
//! use hub::{Claim, Engine, EngineSettings, Statement};
//! use model::fact::Person;
//! use model::{ids::TraceId, time::UnixNanos, verdict::{User, UserSource}};
//!
//! let mut engine = Engine::new(EngineSettings::default());
//! let trace = TraceId([7; 16]);
//! let by = |id: &str, at| Statement {
//!     claim: Claim::User(User { id: id.into(), source: UserSource::Gateway }),
//!     at: UnixNanos(at),
//!     until: UnixNanos(at + 5),
//!     exclusive: true,
//! };
//! engine.claim(trace, by("alice", 1), UnixNanos(7));
//! assert!(matches!(engine.person(trace), Person::Known(_)));
//! engine.claim(trace, by("bob", 2), UnixNanos(8));
//! assert_eq!(engine.person(trace), Person::Conflict);
//! ```

mod access;
mod authority;
mod client;
mod engine;
mod error;
mod metrics;
mod outbox;
mod places;
mod questions;
mod remote;
mod replica;
mod server;
mod settings;
mod store;
mod task;
mod wire;

#[cfg(test)]
mod tests;

pub use authority::{Authority, Credential, Judgement, Role, TokenFiles, Unavailable};
pub use client::{HubClient, HubHandle};
pub use engine::{Answer, Ask, Asked, Engine, WaitId};
pub use error::Error;
pub use metrics::{ClientMetrics, ServerMetrics};
pub use questions::Learned;
pub use remote::RemoteAuthority;
pub use server::{AccessSummary, HubServer, bearer};
pub use settings::{ClientSettings, EngineSettings};
pub use store::{Claim, Statement, Told};
pub use wire::VERSION;
