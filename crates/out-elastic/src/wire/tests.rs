use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use proptest::prelude::*;

use super::*;

fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.into(),
    }
}

fn items(body: &str, sent: usize) -> Result<Vec<ItemOutcome>, Error> {
    match judge(&reply(200, body.to_owned()), sent, "http://es/_bulk")? {
        Verdict::Items(outcomes) => Ok(outcomes),
        Verdict::TooLarge => panic!("not for 200"),
    }
}

fn label(outcome: &ItemOutcome) -> &'static str {
    match outcome {
        ItemOutcome::Delivered => "delivered",
        ItemOutcome::Duplicate => "duplicate",
        ItemOutcome::Retry { label } | ItemOutcome::Rejected { label, .. } => label,
    }
}

const MIXED: &str = r#"{"took":7,"errors":true,"items":[
    {"create":{"status":201}},
    {"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"exists"}}},
    {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}},
    {"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"caf\u00e9 \"x\"\n"}}},
    {"create":{"status":400,"error":{"type":"illegal_argument_exception","reason":"no"}}},
    {"create":{"status":403,"error":{"type":"cluster_block_exception"}}},
    {"create":{"status":404}},
    {"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"r","extra":[1]}}},
    {"index":{"status":200,"_id":"x","_shards":{"total":2}}}]}"#;

#[test]
fn every_item_gets_its_own_outcome() {
    let outcomes = items(MIXED, 9).unwrap();
    let labels: Vec<_> = outcomes.iter().map(label).collect();
    assert_eq!(
        labels,
        [
            "delivered",
            "duplicate",
            "item_429",
            "mapping",
            "item_400",
            "item_403",
            "item_404",
            "item_5xx",
            "delivered"
        ]
    );
    assert!(matches!(outcomes[2], ItemOutcome::Retry { .. }));
    assert!(matches!(outcomes[7], ItemOutcome::Retry { .. }));
    let ItemOutcome::Rejected { reason, .. } = &outcomes[3] else {
        panic!("a mapping conflict is final")
    };
    assert_eq!(reason, "document_parsing_exception: café \"x\" ");
}

#[test]
fn an_answer_cut_at_every_byte_says_nothing_about_any_item() {
    for cut in 0..MIXED.len() {
        if MIXED.is_char_boundary(cut) {
            let error = items(&MIXED[..cut], 9).unwrap_err();
            assert_eq!(error.label(), "not_bulk", "{cut}");
        }
    }
}

#[test]
fn an_answer_about_another_number_of_items_is_not_believed() {
    for sent in [0, 8, 10] {
        assert_eq!(items(MIXED, sent).unwrap_err().label(), "item_count");
    }
    assert_eq!(
        items(r#"{"errors":false,"items":[]}"#, 1)
            .unwrap_err()
            .label(),
        "item_count"
    );
}

#[test]
fn what_is_no_bulk_answer_is_told_with_its_first_words() {
    for body in [
        "",
        "<html><body>It works!</body></html>",
        "null",
        "[]",
        r#"{"errors":false}"#,
        r#"{"items":{}}"#,
        r#"{"items":[{}]}"#,
        r#"{"items":[{"create":{}}]}"#,
        r#"{"items":[{"create":{"status":"201"}}]}"#,
        r#"{"items":[{"create":{"status":201},"index":{"status":201}}]}"#,
        r#"{"items":[{"create":{"status":201}}]} trailing"#,
    ] {
        let error = items(body, 1).unwrap_err();
        assert_eq!(error.label(), "not_bulk", "{body}");
        assert!(
            error
                .to_string()
                .contains(&body.chars().take(10).collect::<String>())
        );
    }
}

#[test]
fn an_answer_that_contradicts_itself_is_judged_by_its_items() {
    let body =
        r#"{"errors":false,"items":[{"create":{"status":400,"error":{"type":"t","reason":"r"}}}]}"#;
    assert_eq!(label(&items(body, 1).unwrap()[0]), "item_400");
}

#[test]
fn long_reasons_are_shortened() {
    let reason = "é".repeat(10_000);
    let body = format!(
        r#"{{"items":[{{"create":{{"status":400,"error":{{"type":"t","reason":"{reason}"}}}}}}]}}"#
    );
    let outcomes = items(&body, 1).unwrap();
    let ItemOutcome::Rejected { reason, .. } = &outcomes[0] else {
        panic!("final")
    };
    assert_eq!(reason.chars().count(), SAID_CHARS_MAX);
}

#[test]
fn a_status_for_the_whole_request_is_for_the_whole_request() {
    for (status, label) in [
        (301, "http_3xx"),
        (400, "http_4xx"),
        (401, "http_401"),
        (403, "http_403"),
        (404, "http_4xx"),
        (429, "http_429"),
        (500, "http_5xx"),
        (502, "http_5xx"),
        (503, "http_503"),
    ] {
        let Err(error) = judge(&reply(status, "why\u{7}"), 1, "http://es/_bulk") else {
            panic!("{status} stores nothing")
        };
        assert_eq!(error.label(), label);
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert!(error.to_string().ends_with("why "), "{error}");
    }
    assert!(matches!(
        judge(&reply(413, ""), 1, ""),
        Ok(Verdict::TooLarge)
    ));
}

#[test]
fn retry_after_is_taken_from_whoever_has_too_much_to_do() {
    for (text, expected) in [
        ("7", Some(Duration::from_secs(7))),
        ("999999", Some(Duration::from_hours(1))),
        ("soon", None),
        ("-1", None),
    ] {
        let mut reply = reply(503, "");
        reply
            .headers
            .insert(header::RETRY_AFTER, HeaderValue::from_static(text));
        let Err(error) = judge(&reply, 1, "") else {
            panic!("503 stores nothing")
        };
        assert_eq!(error.retry_after(), expected, "{text}");
    }
}

proptest! {
    /// A damaged answer is either not believed or still has an outcome for each item.
    #[test]
    fn a_damaged_answer_never_has_another_number_of_outcomes(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = MIXED.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        match judge(&reply(200, bytes), 9, "") {
            Ok(Verdict::Items(outcomes)) => prop_assert_eq!(outcomes.len(), 9),
            Ok(Verdict::TooLarge) => prop_assert!(false, "not for 200"),
            Err(error) => prop_assert!(["not_bulk", "item_count"].contains(&error.label())),
        }
    }
}
