//! One HTTP listener for everything: page, JSON API, bulk API, hub, metrics.

mod answer;
mod api;
mod params;
mod receipts;
mod routes;

pub(crate) use answer::{Answer, answer, json_answer};
pub(crate) use params::{Params, query_from};
pub(crate) use routes::{App, now};
