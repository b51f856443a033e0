//! What pods tell each other through the hub. Facts are immutable; losing one means "not attributed
//! at ingest", never "attributed wrongly".

use std::sync::Arc;

use crate::ids::TraceId;
use crate::time::UnixNanos;
use crate::verdict::User;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A first-hop proxy saw this trace begin with this person.
    TraceUser(TraceUser),
    /// A request acts on an `AppContext`.
    Operation(Operation),
}

/// One request of trace `trace` was made by `user`. Only trusted first-hop proxies may state it; the
/// same trace with two users is a conflict for good and names nobody. Trace ids are chosen by callers,
/// so it says nothing of what runs on the trace before the request or after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceUser {
    /// The trace.
    pub trace: TraceId,
    /// The person, with the source that proved it.
    pub user: User,
    /// When the proxy received the request.
    pub at: UnixNanos,
    /// When the proxy was done with it; [`TraceUser::RUNS`] while it is not, and `at` where that was
    /// not told.
    pub until: UnixNanos,
    /// Whether nobody else can have used the trace meanwhile: the proxy made its id for this request, so
    /// that nobody knew it before.
    pub exclusive: bool,
}

impl TraceUser {
    /// The end of a request that runs.
    pub const RUNS: UnixNanos = UnixNanos(u64::MAX);
}

/// Request `trace` acts on `AppContext` `app_context` from `at` on. The id narrows and never proves
/// alone: one person instantiates an object, another terminates it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The request.
    pub trace: TraceId,
    /// `AppContext` id (a decimal 63-bit number as text).
    pub app_context: Arc<str>,
    /// The RPC or route that does it, e.g. `installapp/InstallApp`.
    pub action: Arc<str>,
    /// Which service saw it.
    pub service: Arc<str>,
    /// First moment.
    pub at: UnixNanos,
}

/// What is known about a trace's person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Person {
    /// Nobody has said anything yet.
    #[default]
    Unknown,
    /// One person, proven.
    Known(User),
    /// Two sources named two people: nobody, for good.
    Conflict,
}
