use serde_json::json;

use crate::lab::{Lab, id};

const EVIL: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";

fn store(lab: &Lab, documents: &[serde_json::Value]) {
    let lines = documents.iter().enumerate().map(|(number, document)| {
        let mut document = document.clone();
        document["event.id"] = json!(id(number));
        let action = json!({"create": {"_index": "logs", "_id": id(number)}});
        format!("{action}\n{document}\n")
    });
    let reply = lab.bulk(&lines.collect::<String>());
    assert_eq!(reply.json()["errors"], false);
}

fn assert_harmless(page: &str) {
    for bad in ["<script>alert", "<img src=x", "onerror=alert(1)>"] {
        assert!(!page.contains(bad), "{bad} in {page}");
    }
}

#[test]
fn whatever_a_line_says_stays_text() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let line = json!({
        "@timestamp": "2026-11-23T04:09:37.5Z", "message": EVIL, "service.name": EVIL,
        "log.level": EVIL, "user.id": EVIL, "trace.id": EVIL, "emco.user.source": EVIL,
        "emco.attribution.outcome": "attributed", "emco.attribution.rule": EVIL,
        "emco.fields": {EVIL: EVIL}, "log.origin.file.name": EVIL, "log.file.path": EVIL,
    });
    let request = json!({
        "@timestamp": "2026-11-23T04:09:38.5Z", "event.action": "request", "url.path": EVIL,
        "http.request.method": EVIL, "service.name": EVIL, "trace.id": EVIL, "user.id": EVIL,
    });
    store(&lab, &[line, request]);
    let evil = EVIL
        .bytes()
        .fold(String::new(), |path, byte| format!("{path}%{byte:02X}"));
    let list = lab.page("/");
    assert_eq!(list.status, 200);
    assert_harmless(list.text());
    assert!(
        list.text().contains("&#60;script&#62;alert"),
        "shown as text"
    );
    let link = list.text().split("href=\"/request/").nth(1).unwrap();
    let link = link.split('"').next().unwrap();
    let story = lab.page(&format!("/request/{link}"));
    assert_eq!(
        story.status, 200,
        "the line's own link leads to its request"
    );
    assert_harmless(story.text());
    for path in [
        format!("/?q={evil}&user={evil}&service={evil}&level={evil}&trace={evil}"),
        format!("/?attribution={evil}"),
        format!("/?from={evil}"),
        format!("/?cursor={evil}"),
        format!("/request/{evil}nothing"),
        format!("/{evil}"),
        format!("/assets/{evil}"),
    ] {
        let page = lab.page(&path);
        assert_harmless(page.text());
        assert!(page.head.contains("default-src 'none'"), "{path}");
    }
}

#[test]
fn people_are_shown_as_surely_as_they_are_known() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let with = |outcome: &str, more: serde_json::Value| {
        let mut line = json!({
            "@timestamp": "2026-11-23T04:09:37.5Z", "message": outcome, "service.name": "rsync",
            "log.level": "info", "emco.attribution.outcome": outcome,
        });
        let more = more.as_object().unwrap().clone();
        line.as_object_mut().unwrap().extend(more);
        line
    };
    let trace = "0123456789abcdef0123456789abcdef";
    store(
        &lab,
        &[
            with(
                "attributed",
                json!({"user.id": "alice", "emco.user.source": "gateway", "trace.id": trace}),
            ),
            with("attributed", json!({"trace.id": trace})),
            with("ambiguous", json!({"emco.inferred.user.id": "bob"})),
            with("background", json!({})),
            with("none", json!({})),
        ],
    );
    let page = lab.page("/");
    let page = page.text();
    assert!(page.contains("person-person\" title=\"proven by the ingress gateway"));
    for kind in ["unproven", "ambiguous", "background", "none"] {
        assert!(page.contains(&format!("person person-{kind}\"")), "{kind}");
    }
    assert!(page.contains("likely, but not proven: bob"));
    assert!(
        !page.contains(">bob<"),
        "what is likely is never shown as known"
    );
    let story = lab.page(&format!("/request/{trace}"));
    assert!(
        story
            .text()
            .contains("alice</span> <small>proven by the ingress gateway")
    );
    let told = lab.get(&format!("/api/v1/request/{trace}")).json();
    assert_eq!(told["user"], "alice");
    assert_eq!(told["lines"].as_array().unwrap().len(), 2);
}

#[test]
fn empty_pages_teach_and_missing_ones_say_so() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let empty = lab.page("/");
    assert_eq!(empty.status, 200);
    assert!(empty.text().contains("cargo xtask demo"));
    store(&lab, &[json!({"message": "x"})]);
    assert!(
        lab.page("/?q=nothing+like+it")
            .text()
            .contains("No line matches")
    );
    for path in ["/request/0123", "/nothing", "/assets/nothing"] {
        let page = lab.page(path);
        assert_eq!(page.status, 404, "{path}");
        assert!(page.text().contains("Show all lines"), "{path}");
    }
    for (path, kind) in [
        ("/assets/lab.css", "text/css"),
        ("/assets/lab.js", "text/javascript"),
    ] {
        let asset = lab.page(path);
        assert!(asset.head.contains(kind), "{path}");
    }
}

#[test]
fn the_hub_is_served_beside_the_rest() {
    let data = tempfile::tempdir().unwrap();
    let lab = Lab::start(data.path());
    let refused = lab.request("POST", "/v1/tell", "", b"nonsense");
    assert_eq!(refused.status, 400, "known, and not understood");
    let empty = lab.request("POST", "/v1/access-log", "", b"\n");
    assert_eq!(empty.status, 200);
}
