use std::sync::Arc;

use model::fact::{Fact, TraceUser};
use model::time::UnixNanos;

use super::{made, operation, trace_user};
use crate::error::Error;
use crate::wire::{Question, Receipt, Refusal, Reply, Tell, VERSION, WireFact, decode, encode};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const ALICE: &str = r#"{"kind":"trace_user","trace":"01010101010101010101010101010101","user":"alice","source":"gateway","at":5,"until":9,"exclusive":true}"#;
const INSTALL: &str = r#"{"kind":"operation","trace":"02020202020202020202020202020202","app_context":"6033","action":"installapp/InstallApp","service":"rsync","at":7}"#;

/// These bytes are what version 1 is; a change that is more than a member which may be missing needs a
/// new version.
#[test]
fn version_1_is_written_so() {
    let alice = WireFact::from(&trace_user(1, "alice"));
    let install = WireFact::from(&Fact::Operation(operation(2, "6033")));
    let tell = Tell {
        version: VERSION,
        facts: vec![alice.clone(), install],
    };
    assert_eq!(
        text(&encode(&tell)),
        format!(r#"{{"version":1,"facts":[{ALICE},{INSTALL}]}}"#)
    );
    let receipt = Receipt {
        version: VERSION,
        hub: 9,
        new: 1,
        known: 2,
        conflicts: 3,
        refused: 4,
        ignored: 5,
    };
    assert_eq!(
        text(&encode(&receipt)),
        r#"{"version":1,"hub":9,"new":1,"known":2,"conflicts":3,"refused":4,"ignored":5}"#
    );
    let question = Question {
        version: VERSION,
        hub: 9,
        after: 17,
        traces: vec!["01".repeat(16)],
        app_contexts: vec![Arc::from("6033")],
        wait_ms: 30_000,
    };
    assert_eq!(
        text(&encode(&question)),
        r#"{"version":1,"hub":9,"after":17,"traces":["01010101010101010101010101010101"],"app_contexts":["6033"],"wait_ms":30000}"#
    );
    let conflict = WireFact::Conflict {
        trace: "03".repeat(16),
    };
    let reply = Reply {
        version: VERSION,
        hub: 9,
        upto: 18,
        facts: vec![alice, conflict],
    };
    assert_eq!(
        text(&encode(&reply)),
        format!(
            r#"{{"version":1,"hub":9,"upto":18,"facts":[{ALICE},{{"kind":"conflict","trace":"03030303030303030303030303030303"}}]}}"#
        )
    );
    let refusal = Refusal {
        version: VERSION,
        error: "no".to_owned(),
    };
    assert_eq!(text(&encode(&refusal)), r#"{"version":1,"error":"no"}"#);
}

#[test]
fn what_is_written_is_read() {
    let body = format!(r#"{{"version":1,"facts":[{ALICE},{INSTALL}]}}"#);
    let tell: Tell = decode(body.as_bytes()).unwrap();
    let facts: Vec<Fact> = tell.facts.into_iter().filter_map(WireFact::fact).collect();
    assert_eq!(
        facts,
        [
            trace_user(1, "alice"),
            Fact::Operation(operation(2, "6033"))
        ]
    );
}

#[test]
fn members_and_kinds_of_later_versions_are_stepped_over() {
    let body = format!(
        r#"{{"new":[1],"facts":[{{"kind":"rumour","of":{{}}}},{}],"version":1}}"#,
        ALICE.replace("\"at\"", "\"color\":\"red\",\"at\"")
    );
    let tell: Tell = decode(body.as_bytes()).unwrap();
    let facts: Vec<Option<Fact>> = tell.facts.into_iter().map(WireFact::fact).collect();
    assert_eq!(facts, [None, Some(trace_user(1, "alice"))]);
}

#[test]
fn a_peer_that_does_not_say_when_a_request_ended_proves_no_more_than_its_beginning() {
    let old = ALICE.replace(r#","until":9,"exclusive":true"#, "");
    let fact: WireFact = serde_json::from_str(&old).unwrap();
    let told = TraceUser {
        exclusive: false,
        ..made(1, "alice", 5, UnixNanos(5))
    };
    assert_eq!(fact.fact(), Some(Fact::TraceUser(told)));
}

#[test]
fn facts_that_cannot_be_read_are_no_facts() {
    for (from, to) in [
        ("\"01010101010101010101010101010101\"", "\"0\""),
        ("\"alice\"", "\"\""),
        ("\"gateway\"", "\"hearsay\""),
    ] {
        let fact: WireFact = serde_json::from_str(&ALICE.replace(from, to)).unwrap();
        assert_eq!(fact.fact(), None, "{to}");
    }
    let fact: WireFact = serde_json::from_str(&INSTALL.replace("6033", &"6".repeat(600))).unwrap();
    assert_eq!(fact.fact(), None);
}

#[test]
fn other_versions_are_refused_by_name() {
    for (body, expected) in [
        (r#"{"version":2,"facts":"all different"}"#, 2),
        (r#"{"facts":[]}"#, 0),
    ] {
        let error = decode::<Tell>(body.as_bytes()).unwrap_err();
        assert!(
            matches!(error, Error::Version { theirs } if theirs == expected),
            "{error}"
        );
    }
    let error = decode::<Tell>(b"<html>").unwrap_err();
    assert!(matches!(error, Error::NotProtocol(_)));
}
