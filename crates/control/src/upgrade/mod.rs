//! The command `upgrade`: gives sidecars that run another image, pod after pod, without a restart of
//! EMCO.
//!
//! ```text
//! pods ──plan──▶ in place ──patch──▶ the new sidecar runs for 3 s ──▶ the next pod
//!          │                     └─▶ it does not: the old image is put back, and that is the end
//!          ├───▶ only a restart helps: said, with what to do; done if that is asked for
//!          └───▶ nothing to do
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`plan`] | the pure function from a pod to what is done with it |
//! | [`progress`] | the pure function from what kubelets say to whether the new sidecar runs |
//! | [`successor`] | the pure functions that say whether a pod may be restarted, and whether it was |
//! | `run` | pods one after the other |
//! | `place`, `restart` | another image for one, a restart of one |
//!
//! A sidecar that changes is away for about ten seconds, as kubelets wait before they start a container
//! again: it finds its place in the logs, and spans of that time are lost as in any restart.

mod place;
pub mod plan;
pub mod progress;
mod restart;
mod run;
pub mod successor;

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
    /// How long a new sidecar may need until it runs, and a new pod until it is ready.
    pub(crate) timeout: Duration,
    /// Restarts pods where only that helps.
    pub(crate) restart: bool,
    /// Only says what would be done.
    pub(crate) dry_run: bool,
}
