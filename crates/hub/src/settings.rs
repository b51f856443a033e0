//! What can be set.

use std::path::PathBuf;
use std::time::Duration;

use net::TlsSettings;

/// How much the hub remembers, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Traces whose person is remembered; 100 000 by default. The oldest go first.
    pub traces_max: usize,
    /// Traces that are known to be in conflict; 100 000 by default. They do not expire with time.
    pub conflicts_max: usize,
    /// `AppContext`s whose operations are remembered; 20 000 by default.
    pub app_contexts_max: usize,
    /// Operations remembered for one `AppContext`, the newest ones; 256 by default.
    pub operations_max: usize,
    /// Questions that may wait at once; 1024 by default. Further ones are answered at once.
    pub waiting_max: usize,
    /// How long a fact is remembered; 6 hours by default.
    pub horizon: Duration,
    /// Whether the user counts whom the gateway's record of a request's beginning names; not by
    /// default. The record is written before the gateway has proven anything, so that it is only to be
    /// believed where something in front of the gateway proves the header.
    pub user_at_begin: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            traces_max: 100_000,
            conflicts_max: 100_000,
            app_contexts_max: 20_000,
            operations_max: 256,
            waiting_max: 1024,
            horizon: Duration::from_hours(6),
            user_at_begin: false,
        }
    }
}

/// Where the hub is and how much the client keeps for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// `host:port` or `http(s)://host:port` of each replica, or of several at once: each address that a
    /// name leads to is one. None means that there is no hub.
    pub addresses: Vec<String>,
    /// Whom to trust where an address is `https`.
    pub tls: TlsSettings,
    /// File with the bearer token, read again for each request (tokens are rotated).
    pub token_file: Option<PathBuf>,
    /// How long a question is kept open after it was last asked, answered (a conflict may follow) or
    /// not; 5 minutes by default.
    pub horizon: Duration,
    /// Questions that are open at once; 8192 by default, at most 16 384. The oldest are forgotten
    /// first.
    pub questions_max: usize,
    /// Facts kept for replicas that are away or start anew; 8192 by default. The oldest go first.
    pub facts_max: usize,
    /// Longest time a replica may take to answer, beyond the time it was asked to wait; 5 s by
    /// default.
    pub answer_max: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            tls: TlsSettings::default(),
            token_file: None,
            horizon: Duration::from_mins(5),
            questions_max: 8192,
            facts_max: 8192,
            answer_max: Duration::from_secs(5),
        }
    }
}
