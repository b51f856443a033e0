//! `emco-observer-control`: puts the sidecar into EMCO's pods.
//!
//! | part | is |
//! |---|---|
//! | [`inject`] | the pure function from a pod to its JSON patch, and back |
//! | [`manifests`] | the same for files of manifests, without a cluster |
//! | [`serve`] | the control plane as it runs: [`webhook`], [`certificates`], the hub with [`tokens`], [`cluster`] |
//! | [`watchdog`] | who has a sidecar, and which |
//! | `status`, [`upgrade`], [`verify`] | the commands that ask the API server |
//! | [`cli`], [`command`] | the command line |
//!
//! It deliberately knows nothing of the sidecar's inside: image, command line, variables, ports and
//! paths are all that the two share.
//!
//! ```
//! use control::inject::{Decision, Namespace, Settings, Surroundings, review};
//!
//! let pod = serde_json::json!({
//!     "metadata": { "labels": { "app": "orchestrator" } },
//!     "spec": { "containers": [{ "name": "orchestrator", "image": "emco-orch" }] },
//! });
//! let surroundings = Surroundings {
//!     namespace: Namespace { inject: Some(true), ..Namespace::default() },
//!     ..Surroundings::default()
//! };
//! let decision = review(&pod, &Settings::default(), &surroundings);
//! assert!(matches!(decision, Decision::Inject(_)));
//! ```

pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod command;
pub mod inject;
pub mod manifests;
pub mod metrics;
pub mod process;
pub mod serve;
pub mod settings;
mod status;
pub mod tokens;
pub mod upgrade;
pub mod verify;
pub mod watchdog;
pub mod webhook;
