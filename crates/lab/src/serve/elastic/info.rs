//! The answers that never change.

use http::StatusCode;
use serde_json::json;

use crate::serve::http::{Answer, json_answer};

/// The version that clients take this for; the form of its answers is followed.
const VERSION: &str = "8.19.0";

/// `GET /`
pub(crate) fn root() -> Answer {
    product(json_answer(
        StatusCode::OK,
        &json!({
            "name": "emco-lab",
            "cluster_name": "emco-lab",
            "cluster_uuid": "emco-lab",
            "version": {
                "number": VERSION,
                "build_flavor": "default",
                "build_type": "emco-lab",
                "build_snapshot": false,
                "lucene_version": "9.12.2",
                "minimum_wire_compatibility_version": "7.17.0",
                "minimum_index_compatibility_version": "7.0.0",
            },
            "tagline": "You Know, for Search",
        }),
    ))
}

/// `GET /_cluster/health`
pub(crate) fn health() -> Answer {
    product(json_answer(
        StatusCode::OK,
        &json!({
            "cluster_name": "emco-lab", "status": "green", "timed_out": false,
            "number_of_nodes": 1, "number_of_data_nodes": 1, "active_primary_shards": 1,
            "active_shards": 1, "relocating_shards": 0, "initializing_shards": 0,
            "unassigned_shards": 0,
        }),
    ))
}

/// `GET /_license`
pub(crate) fn license() -> Answer {
    product(json_answer(
        StatusCode::OK,
        &json!({"license": {"status": "active", "uid": "emco-lab", "type": "basic",
                            "issued_to": "emco-lab", "issuer": "emco-lab"}}),
    ))
}

/// What is accepted and not kept.
pub(crate) fn acknowledged() -> Answer {
    product(json_answer(StatusCode::OK, &json!({"acknowledged": true})))
}

/// An error of a whole request in Elasticsearch's form.
pub(super) fn refused(status: StatusCode, kind: &str, reason: &str) -> Answer {
    product(json_answer(
        status,
        &json!({
            "error": {
                "root_cause": [{"type": kind, "reason": reason}],
                "type": kind, "reason": reason,
            },
            "status": status.as_u16(),
        }),
    ))
}

/// What nobody serves.
pub(crate) fn not_found(method: &http::Method, path: &str) -> Answer {
    let reason = format!("no handler found for uri [{path}] and method [{method}]");
    let status = if method == http::Method::GET || method == http::Method::HEAD {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::BAD_REQUEST
    };
    refused(status, "illegal_argument_exception", &reason)
}

/// Official clients refuse to talk to a server that does not say this.
pub(super) fn product(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(
        "x-elastic-product",
        http::HeaderValue::from_static("Elasticsearch"),
    );
    answer
}
