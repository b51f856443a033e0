//! What the API server calls: a review of each new pod.
//!
//! | module | is |
//! |---|---|
//! | `review` | an `AdmissionReview` in, one out: bytes, no socket |
//! | `server` | the HTTPS side of it |
//! | `events` | tells operators of pods that have no sidecar, or less than was asked for |

mod events;
mod review;
mod server;

pub use events::{Events, Notice};
pub(crate) use events::{deliver, owner};
pub use review::{Malformed, Request, Response};
pub use server::Webhook;
