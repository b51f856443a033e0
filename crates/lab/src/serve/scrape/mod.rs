//! Asks sidecars for their metrics now and then, and keeps what the page shows of them: requests,
//! errors and durations of each service over time. It is no Prometheus: sums by service, no queries.
//!
//! ```text
//! emco_requests_total{…}                  ─┐ summed by service
//! emco_request_duration_seconds_bucket{…} ─┴─▶ Sample ─▶ store (when something changed)
//! ```

mod exposition;
mod task;

pub(crate) use self::task::{Scrapes, Target, run};
