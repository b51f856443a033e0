//! The product's signals about itself: logs, metrics, process figures and health.
//!
//! | question | answered by |
//! |---|---|
//! | what happened? | [`logs`]: JSON lines on stderr, limited per call site, secrets masked |
//! | how much, how often? | a [`prometheus::Registry`] that each part fills, rendered by [`exposition`]; exemplars in a [`side_table`] |
//! | which build is this? | [`build`] |
//! | what does it cost? | [`process`] (memory, descriptors, switches) and [`cpu`] (seconds by kind of work) |
//! | is anything wrong now? | [`health`]: one reason a part, as JSON |
//!
//! Deliberately knows no socket and no runtime: who serves the page and who waits is the program's
//! business. It knows no record either; what users' logs say never passes through here.
//!
//! ```
//! let registry = prometheus::Registry::new();
//! let health = telemetry::health::Health::new(&registry)?;
//! health.set("lane.forward", "destination refuses connections");
//! assert!(telemetry::exposition::render(&registry)?.contains("emco_observer_health_degraded_parts 1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod build;
pub mod cpu;
pub mod exposition;
pub mod health;
pub mod logs;
pub mod process;
pub mod side_table;

mod encoder;
mod error;
mod limit;
mod mask;

pub use error::Error;
