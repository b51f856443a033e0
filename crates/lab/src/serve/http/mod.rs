//! One HTTP listener for everything: page, JSON API, bulk API, hub, metrics.
//!
//! | address | is |
//! |---|---|
//! | `/`, `/request/{trace}`, `/services`, `/assets/…` | the page, for whoever accepts `text/html` |
//! | `/_bulk`, `/_cluster/health`, … | [`crate::serve::elastic`] |
//! | `/v1/traces` | [`crate::serve::traces`] |
//! | `/v1/…` | the hub, mounted |
//! | `/api/v1/search`, `request/{trace}`, `spans/counts`, `services`, `stats` | JSON |
//! | `/api/v1/receipts`, `spans` | JSON lines, a page with its length or a stream |
//! | `/metrics`, `/health` | of the lab itself |

mod answer;
mod api;
mod params;
mod receipts;
mod routes;
mod spans;

pub(crate) use answer::{Answer, answer, json_answer};
pub(crate) use params::{Params, query_from};
pub(crate) use routes::{App, now};
