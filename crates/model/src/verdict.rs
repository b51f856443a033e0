//! Whom a line belongs to, and how we know.

use std::sync::Arc;

use crate::ids::{SpanId, TraceId};

/// Where a person's name came from, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum UserSource {
    /// A claim that the logging proxy verified itself.
    ProxyClaim,
    /// A header that `RequestAuthentication` at the logging proxy proves.
    ProvenHeader,
    /// The ingress gateway's own access log.
    Gateway,
    /// A gateway's header under STRICT mTLS.
    MutualTls,
}

impl UserSource {
    /// The value of `emco.user.source`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProxyClaim => "proxy_claim",
            Self::ProvenHeader => "proven_header",
            Self::Gateway => "gateway",
            Self::MutualTls => "mutual_tls",
        }
    }

    /// The source of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::ProxyClaim,
            Self::ProvenHeader,
            Self::Gateway,
            Self::MutualTls,
        ]
        .into_iter()
        .find(|source| source.name() == name)
    }
}

/// A person, proven by a trusted source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// The value of `user.id`.
    pub id: Arc<str>,
    /// Who proved it.
    pub source: UserSource,
}

/// What was concluded about a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Exactly one origin was left, and it is a request.
    Attributed,
    /// More than one origin was left.
    Ambiguous,
    /// Exactly one origin was left, and no request caused it.
    Background,
    /// There was no evidence to decide on.
    #[default]
    None,
}

impl Outcome {
    /// The value of `emco.attribution.outcome`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attributed => "attributed",
            Self::Ambiguous => "ambiguous",
            Self::Background => "background",
            Self::None => "none",
        }
    }
}

/// The exclusion that left one origin (the strongest that was needed), or why none could be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// Nothing was decided.
    #[default]
    None,
    /// The line carries the id itself.
    OwnId,
    /// Only one origin was open at its time.
    Time,
    /// The others were waiting inside a client span.
    Blocked,
    /// The others cannot reach its call site.
    CodePosition,
    /// The asynchronous work that could print it was never started by the others.
    NeverStarted,
    /// Its names belong to no other origin.
    Names,
    /// It carries a value that lives inside one operation.
    Token,
    /// Only one operation acts on its `AppContext` at that time.
    AppContext,
    /// It is the access line of exactly one request.
    AccessLine,
    /// It can only be printed by background work or at start-up.
    BackgroundSite,
    /// The evidence had a gap.
    Gap,
    /// The wait for evidence ran out.
    Timeout,
}

impl Rule {
    /// All rules; the position of a rule is its wire value.
    pub const ALL: [Self; 13] = [
        Self::None,
        Self::OwnId,
        Self::Time,
        Self::Blocked,
        Self::CodePosition,
        Self::NeverStarted,
        Self::Names,
        Self::Token,
        Self::AppContext,
        Self::AccessLine,
        Self::BackgroundSite,
        Self::Gap,
        Self::Timeout,
    ];

    /// The value of `emco.attribution.rule`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OwnId => "own_id",
            Self::Time => "time",
            Self::Blocked => "blocked",
            Self::CodePosition => "code_position",
            Self::NeverStarted => "never_started",
            Self::Names => "names",
            Self::Token => "token",
            Self::AppContext => "app_context",
            Self::AccessLine => "access_line",
            Self::BackgroundSite => "background_site",
            Self::Gap => "gap",
            Self::Timeout => "timeout",
        }
    }
}

/// Most candidates that a verdict names.
pub const CANDIDATES_MAX: usize = 8;

/// The conclusion about one line: decided once, kept in the verdict log, the same for every output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What was concluded.
    pub outcome: Outcome,
    /// By which exclusion.
    pub rule: Rule,
    /// The request's trace; set only when attributed.
    pub trace: Option<TraceId>,
    /// The span of the request in this service, where one is known.
    pub span: Option<SpanId>,
    /// The person; set only when attributed and proven.
    pub user: Option<User>,
    /// Traces that were left when ambiguous, at most [`CANDIDATES_MAX`].
    pub candidates: Vec<TraceId>,
    /// What is merely likely; never the same as `trace`.
    pub inferred: Option<(TraceId, Option<User>)>,
}
