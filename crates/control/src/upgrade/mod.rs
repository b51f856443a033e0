//! The command `upgrade`: gives sidecars that run another image, pod after pod, without a restart of
//! EMCO.
//!
//! ```text
//! pods ──plan──▶ in place ──patch──▶ the new sidecar runs for 3 s ──▶ the next pod
//!          │                     └─▶ it does not: the old image is put back, and that is the end
//!          ├───▶ only a restart helps: said, with what to do
//!          └───▶ nothing to do
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`plan`] | the pure function from a pod to what is done with it |
//! | [`progress`] | the pure function from what kubelets say to whether the new sidecar runs |
//! | `run` | pods one after the other, asked of the API server |
//!
//! A sidecar that changes is away for a second or two: it finds its place in the logs again, and what
//! EMCO could not send to it meanwhile is EMCO's to send again.

pub mod plan;
pub mod progress;
mod run;

use std::time::Duration;

use crate::inject::Settings;

pub(crate) use run::run;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Order {
    /// Where; all injected namespaces if none is named.
    pub(crate) namespaces: Vec<String>,
    /// How pods should get their sidecar: the control plane's.
    pub(crate) settings: Settings,
    /// How long a new sidecar may need until it runs.
    pub(crate) timeout: Duration,
    /// Only says what would be done.
    pub(crate) dry_run: bool,
}
