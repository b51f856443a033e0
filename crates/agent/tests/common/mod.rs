//! The real binary between things it reads and peers it delivers to, all on loopback and in a folder
//! of the test's own.
//!
//! ```text
//! Pod (CRI files) ─▶ emco-observer (Sidecar) ─┬─▶ forward::Receiver ─┐
//! post_spans ──────▶      ▲                   └─▶ bulk::Server ──────┴─▶ Store
//!                         └── identity::Hub
//! ```
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "shared by test programs that each use a part; a test panics where it fails"
)]

pub(crate) mod bulk;
pub(crate) mod forward;
pub(crate) mod http;
pub(crate) mod identity;
pub(crate) mod mix;
pub(crate) mod openmetrics;
pub(crate) mod otlp;
pub(crate) mod pod;
pub(crate) mod recording;
pub(crate) mod requests;
pub(crate) mod sidecar;
pub(crate) mod store;
pub(crate) mod tls;
pub(crate) mod wrapped;

use std::time::Duration;

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `holds` answers something; what the test was waiting for is said when it does not.
pub(crate) async fn until<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(value) = holds().await {
                return value;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let Ok(value) = tokio::time::timeout(PATIENCE, waiting).await else {
        panic!("waited in vain: {what}")
    };
    value
}
