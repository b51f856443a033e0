//! The request ledger: attribution of log lines to requests and people by exclusion.
//!
//! EMCO's lines carry no request id. The ledger lists every origin a line could have (requests in
//! flight, asynchronous work that requests started, background loops, start-up) and strikes out
//! those that are impossible. One left is an attribution with its evidence; more are an ambiguity
//! with its candidates; a person is named only when a trusted first-hop proxy said who made the
//! trace. Nothing here is ever a guess.
//!
//! ```text
//! spans ───────┐
//! access ──────┼─▶ Origins ──┐
//! facts ───────┘   People    ├─▶ decide ─▶ Verdict
//! lines ─▶ waiting queue ────┘
//! ```
//!
//! Time is an argument, and so is all evidence: this crate knows no clock, socket, file or task, and
//! nothing of how lines, spans and facts travel.

mod access_lines;
mod busy;
pub mod callmap;
mod calls;
pub mod census;
mod decide;
mod ledger;
mod line;
mod lookup;
mod makers;
mod origin;
mod origins;
mod owners;
mod people;
mod poller;
mod proxied;
mod request;
pub mod routes;
mod sections;
mod settings;
mod starts;
mod state;
mod steps;
mod tokens;
mod view;
mod workers;

#[cfg(test)]
mod hidden_tests;
#[cfg(test)]
mod person_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worker_tests;

pub use ledger::{Ledger, RequestEnded, Ticket};
pub use lookup::Served;
pub use settings::Settings;
pub use view::InFlight;
