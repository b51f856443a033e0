//! From a pod to the JSON patch that gives it a sidecar, and back. A pure function of the pod, the
//! settings and what is known of the cluster: no runtime, no client of Kubernetes, no clock, no file.
//!
//! ```text
//! pod + settings + surroundings ──▶ Skip(reason)                 left alone, with a sentence that helps
//!                               ├─▶ Current                      it has just what it should have
//!                               └─▶ Inject(patch, notes)         ≤ 12 operations on the raw JSON
//! ```
//! Nothing but what has to change is read or written, so that fields of any version of Kubernetes
//! survive. What was put in is named in the annotation [`STATUS`]; by that a second pass, before or
//! after other injectors, finds nothing to do, another version of ours is replaced exactly, and
//! [`eject`] gives back the pod that came.

mod changes;
mod decision;
mod eject;
mod names;
mod patch;
mod plan;
mod pod;
mod render;
mod renew;
mod review;
mod settings;
mod status;
mod surroundings;

pub use decision::{Decision, Injection, Kind, Logs, Note, Obstacle, Reason, Summary};
pub(crate) use names::{ADMIN_PORT, PREPARE, SIDECAR};
pub use names::{AUDIENCE, EVIDENCE_ANNOTATION, LOGS_ANNOTATION, OVERLAY_ANNOTATION, STATUS};
pub use renew::{Renewal, renew};
pub use review::{eject, review, status};
pub use settings::{Evidence, LogMode, PullPolicy, Resources, Settings, SidecarKind};
pub use status::Status;
pub use surroundings::{
    INJECT, Istio, KubernetesVersion, Namespace, PodSecurity, Surroundings, UnknownWord,
};
