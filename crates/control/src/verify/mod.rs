//! The command `verify`: proves, in a cluster that runs, that pods get their sidecar and that lines
//! arrive.
//!
//! ```text
//! a pod that writes one line ──▶ has the sidecar? ──▶ does it run? ──▶ has the line arrived? ──▶ deleted
//! ```
//! The pod is deleted whatever happens, on SIGTERM and SIGINT, too.
//!
//! | module | is |
//! |---|---|
//! | [`pod`] | the pure functions: the pod, and what is seen of it |
//! | `run` | the steps |
//! | `line` | what runs in the pod |

mod line;
pub mod pod;
mod run;

pub(crate) use line::say;
pub(crate) use run::run;
