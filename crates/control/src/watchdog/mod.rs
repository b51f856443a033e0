//! Who has a sidecar, and which.
//!
//! | module | is |
//! |---|---|
//! | `report` | the pure function from a pod, as the API server tells of it, to its standing |
//! | `trouble` | what kubelets say of containers that do not run |
//! | `configuration` | where EMCO's own configuration leads spans |
//! | `step` | the next step for a pod, as one sentence |
//! | `pages` | pods of a namespace, a few at a time |
//! | `notices` | which pods operators are told of, at most once an hour |
//! | `rollback` | whether new pods do without a sidecar that does not run |
//! | `replace` | gives pods in which EMCO waits a successor |
//! | `task` | the loop that looks each minute, counts and tells |
//!
//! What a pod should have is asked of [`crate::inject`], whose rules are in no other place. No pod in
//! which EMCO runs is changed here: it is restarted by whoever reads what is said of it.

mod configuration;
mod notices;
mod pages;
mod replace;
mod report;
mod rollback;
mod step;
mod task;
mod trouble;

pub use configuration::ConfigurationSource;
pub(crate) use pages::each_pod;
pub(crate) use report::is_over;
pub use report::{Lines, PodReport, Spans, Standing, Wanted, look};
pub(crate) use task::Watchdog;
pub(crate) use trouble::Trouble;
