//! One destination's way through the verdict log: batches, answers, repetition, checkpoint.
//!
//! A lane reads entries with its own cursor, lets [`crate::Documents`] and an encoder turn them into
//! batches, hands these to an [`crate::output::Output`] and commits the prefix that was answered.
//! It does not know what an item looks like or how a destination speaks. A destination that does not
//! answer stops its own lane and nothing else.

mod engine;
mod parcel;
mod settings;
mod task;

pub use engine::{Commit, Engine, Event};
pub use settings::LaneSettings;
pub use task::{Lane, LaneHandle, LaneReport};

#[cfg(test)]
mod tests;
