use std::io::Write;

use serde_json::json;

use crate::lab::{Lab, id, packed, read_ack};

fn create(index: &str, id: &str, document: &str) -> String {
    format!("{{\"create\":{{\"_index\":\"{index}\",\"_id\":\"{id}\"}}}}\n{document}\n")
}

#[test]
fn items_are_answered_one_by_one() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let body = [
        create("logs-a", "1", r#"{"message":"first"}"#),
        create("logs-a", "1", r#"{"message":"again"}"#),
        create("logs-b", "1", r#"{"message":"another index"}"#),
        create("logs-a", "2", "{not json"),
        create("logs-a", "3", "[1]"),
        create("Logs", "4", "{}"),
        "{\"index\":{\"_index\":\"logs-a\",\"_id\":\"1\"}}\n{\"message\":\"new\"}\n".to_owned(),
        "{\"index\":{\"_index\":\"logs-a\"}}\n{\"message\":\"no id\"}\n".to_owned(),
        "{\"delete\":{\"_index\":\"logs-a\",\"_id\":\"1\"}}\n".to_owned(),
    ];
    let reply = lab.bulk(&body.concat());
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("x-elastic-product: Elasticsearch"));
    let answer = reply.json();
    assert_eq!(answer["errors"], true);
    let items = answer["items"].as_array().unwrap().iter();
    let items: Vec<_> = items
        .map(|item| {
            let (action, item) = item.as_object().unwrap().iter().next().unwrap();
            (
                action.clone(),
                item["status"].as_u64().unwrap(),
                item["error"]["type"].as_str().unwrap_or("-").to_owned(),
            )
        })
        .collect();
    let expected = [
        ("create", 201, "-"),
        ("create", 409, "version_conflict_engine_exception"),
        ("create", 201, "-"),
        ("create", 400, "document_parsing_exception"),
        ("create", 400, "document_parsing_exception"),
        ("create", 400, "invalid_index_name_exception"),
        ("index", 200, "-"),
        ("index", 201, "-"),
        ("delete", 400, "illegal_argument_exception"),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(action, status, kind)| ((*action).to_owned(), *status, (*kind).to_owned()))
        .collect();
    assert_eq!(items, expected);
    assert_eq!(answer["items"][3]["create"]["_id"], "2");
    assert!(answer["items"][7]["index"]["_id"].as_str().unwrap().len() >= 20);
}

#[test]
fn a_compressed_body_and_an_index_in_the_path_are_taken() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for number in 0..5000 {
        let action = json!({"create": {"_id": id(number)}});
        writeln!(gzip, "{action}\n{{\"message\":\"m\"}}").unwrap();
    }
    let body = gzip.finish().unwrap();
    let path = "/emco-logs/_bulk?filter_path=errors,items.*.error";
    let reply = lab.request("POST", path, "content-encoding: gzip\r\n", &body);
    assert_eq!(reply.json(), json!({"errors": false}));
    let receipts = lab.receipts("lane=elastic&after=4000&limit=10");
    assert_eq!(receipts.len(), 10);
    assert_eq!(receipts[0]["receipt"], 4001);
    assert_eq!(receipts[0]["home"], "emco-logs");
    assert_eq!(lab.receipts("lane=elastic").len(), 5000);
}

#[test]
fn what_is_no_bulk_request_is_refused_with_a_reason() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    for (body, reason) in [
        ("", "request body is required"),
        ("garbage\n", "Malformed action/metadata line [1]"),
        (
            "{\"create\":{\"_index\":\"a\"}}\n{}",
            "terminated by a newline",
        ),
        ("{\"create\":{}}\n{}\n", "index is missing"),
        ("\u{0}\u{1}\n", "Malformed action/metadata line [1]"),
    ] {
        let reply = lab.bulk(body);
        assert_eq!(reply.status, 400, "{body:?}");
        let said = reply.json()["error"]["reason"].to_string();
        assert!(said.contains(reason), "{body:?}: {said}");
    }
    let header = "content-encoding: gzip\r\n";
    let reply = lab.request("POST", "/_bulk", header, b"this is no gzip");
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["type"], "parse_exception");
    assert_eq!(
        lab.metric("emco_observer_lab_bulk_requests_total{outcome=\"refused\"}"),
        6
    );
}

#[test]
fn shippers_find_the_addresses_they_ask_for() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    assert_eq!(lab.get("/").json()["tagline"], "You Know, for Search");
    let head = lab.request("HEAD", "/", "", b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(lab.get("/_cluster/health").json()["status"], "green");
    assert_eq!(lab.get("/_license").json()["license"]["type"], "basic");
    let template = lab.request("PUT", "/_index_template/emco", "", b"{}");
    assert_eq!(template.json(), json!({"acknowledged": true}));
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 400),
        ("DELETE", "/_bulk", 400),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/search?limit=x", 400),
        ("GET", "/api/v1/search?cursor=x", 400),
        ("GET", "/api/v1/search?from=x", 400),
        ("GET", "/api/v1/receipts?lane=x", 400),
        ("GET", "/api/v1/request/unknown", 404),
        ("GET", "/health", 200),
    ] {
        let reply = lab.request(method, path, "", b"");
        assert_eq!(reply.status, status, "{method} {path}");
        assert!(reply.json().is_object(), "{method} {path}");
    }
}

#[test]
fn both_lanes_have_their_own_receipts_of_one_document() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let mut stream = lab.connect();
    stream.write_all(&packed(7..8, "abc")).unwrap();
    assert_eq!(read_ack(&mut stream), "abc");
    let document = json!({
        "@timestamp": "2026-11-23T04:09:37.5Z", "event.id": id(7), "message": "line 7",
        "user.id": "mallory",
    });
    let body = create("logs-2026.11.23", &id(7), &document.to_string());
    assert_eq!(lab.bulk(&body).json()["errors"], false);
    let all = lab.receipts("");
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["lane"], "forward");
    assert!(all[0].get("user").is_none());
    assert_eq!(all[1]["user"], "mallory", "what this lane said is not lost");
    let search = lab.get("/api/v1/search").json();
    assert_eq!(search["total"], 1, "shown once");
    let whole = lab.receipts("lane=elastic&whole=true");
    assert_eq!(whole[0]["document"]["user.id"], "mallory");
}
