//! What the ledger can be told; every tolerance is data.

/// How the ledger works for one service. Durations are nanoseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// EMCO's chart name of the service, e.g. `orchestrator`; selects the call map.
    pub service: String,
    /// How long a line may wait for late evidence before it is decided with what is known.
    pub wait: u64,
    /// How long an origin is remembered after its end.
    pub horizon: u64,
    /// How far a line's own time may lie outside the span that printed it.
    pub span_error: u64,
    /// Resolution of access records.
    pub access_error: u64,
    /// How far the times of two proxies may lie apart for what is one moment: their clocks, and the way
    /// of a request from one to the next.
    pub hop_error: u64,
    /// How long after the first line of a process start-up code may still print.
    pub startup: u64,
    /// How much earlier than its first client span an origin may have begun that has shown nothing
    /// else yet.
    pub unseen_start: u64,
    /// How long EMCO's metrics poller sleeps between two passes, until another interval is seen.
    pub poll_interval: u64,
    /// A trace without a known root that has shown no client span for so long is a goroutine that
    /// sleeps, where such goroutines were started, and no request.
    pub silence: u64,
    /// The same where the proxy does not tell of requests in time: no request computes for so long.
    pub long_silence: u64,
    /// Most origins kept; beyond, the oldest ended ones are forgotten and a gap is noted.
    pub origins_max: usize,
}

impl Settings {
    /// The defaults for `service`: wait 2 s.
    pub fn of(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            wait: 2_000_000_000,
            horizon: 30_000_000_000,
            span_error: 100_000,
            access_error: 1_000_000,
            hop_error: 100_000_000,
            startup: 5_000_000_000,
            unseen_start: 200_000_000,
            poll_interval: 15_000_000_000,
            silence: 1_500_000_000,
            long_silence: 10_000_000_000,
            origins_max: 65_536,
        }
    }
}
