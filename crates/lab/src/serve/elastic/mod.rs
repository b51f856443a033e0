//! The part of Elasticsearch's HTTP interface that a log shipper touches.
//!
//! | request | answer |
//! |---|---|
//! | `GET /`, `HEAD /` | product and version, as clients check them |
//! | `POST /_bulk`, `POST /{index}/_bulk` | `create` 201 or 409, `index` 201 or 200, item by item |
//! | `GET /_cluster/health`, `GET /_license` | healthy, basic |
//! | `PUT /_index_template/{name}` | accepted and not kept |
//!
//! It is no search engine: documents are read through the lab's own API.

mod bulk;
mod filter;
mod info;
mod items;
mod server;

pub(crate) use info::{acknowledged, health, license, not_found, root};
pub(crate) use server::bulk;
