use model::fact::TraceUser;
use model::time::UnixNanos;

use super::user;
use crate::access::read;
use crate::store::{Claim, Statement};

fn claim(line: &str) -> Option<(String, Claim)> {
    let record = read(line.as_bytes(), false).unwrap()?;
    Some((record.trace.to_string(), record.statement.claim))
}

/// What a line says: who, from when to when in milliseconds, and whether nobody else can have.
fn statement(line: &str, at_begin: bool) -> (Claim, u64, u64, bool) {
    let said = read(line.as_bytes(), at_begin).unwrap().unwrap().statement;
    let millis = |time: UnixNanos| {
        if time == TraceUser::RUNS {
            u64::MAX
        } else {
            time.0 / 1_000_000
        }
    };
    (
        said.claim,
        millis(said.at),
        millis(said.until),
        said.exclusive,
    )
}

#[test]
fn the_end_of_a_request_names_its_user() {
    let line = r#"{"b3":null,"duration":7,"method":"POST","path":"/v2/projects","response_code":201,"start_time":"2026-11-23T04:54:47.841Z","upstream_host":"127.0.0.1:19015","x_b3_traceid":"ef1d9066a05e30686af0c7f36cb6f6af","x_user_id":"alice"}"#;
    let record = read(line.as_bytes(), false).unwrap().unwrap();
    assert_eq!(record.trace.to_string(), "ef1d9066a05e30686af0c7f36cb6f6af");
    let at = UnixNanos::parse_rfc3339(b"2026-11-23T04:54:47.841Z").unwrap();
    let said = Statement {
        claim: Claim::User(user("alice")),
        at,
        until: at.plus(7_000_000),
        exclusive: false,
    };
    assert_eq!(record.statement, said);
}

#[test]
fn either_header_format_gives_the_trace() {
    let id = "68d08be02255f8c767cfc991acef667a";
    for line in [
        format!(r#"{{"x_b3_traceid":"{id}","x_user_id":"alice"}}"#),
        format!(
            r#"{{"x_b3_traceid":"-","b3":"{id}-0d1d64223ad4efa1-1-cdfd201c6db42469","x_user_id":"alice"}}"#
        ),
        format!(r#"{{"b3":"0","trace_id":"{id}","x_user_id":"alice"}}"#),
        format!(r#"{{"b3_traceid":"{id}","user_hdr":"alice"}}"#),
    ] {
        assert_eq!(
            claim(&line),
            Some((id.to_owned(), Claim::User(user("alice")))),
            "{line}"
        );
    }
    assert_eq!(
        claim(r#"{"x_user_id":"alice"}"#),
        None,
        "no trace, no claim"
    );
}

#[test]
fn the_verified_claim_counts_more_than_the_header() {
    let line = r#"{"trace_id":"a1","user_jwt":"alice","user_hdr":"mallory","x_user_id":"mallory"}"#;
    assert_eq!(claim(line).unwrap().1, Claim::User(user("alice")));
    let line = r#"{"trace_id":"a1","user_jwt":"-","user_hdr":"","x_user_id":"bob"}"#;
    assert_eq!(claim(line).unwrap().1, Claim::User(user("bob")));
}

#[test]
fn a_beginning_names_somebody_and_an_end_without_a_user_nobody() {
    for key in ["access_log_type", "log_type"] {
        let line = |kind: &str, user: &str| {
            format!(
                r#"{{"{key}":"{kind}","trace_id":"a1","x_user_id":{user},"ts":"1970-01-01T00:00:01Z"}}"#
            )
        };
        let begun = line("DownstreamStart", "\"alice\"");
        for line in [&line("DownstreamStart", "null"), &begun] {
            assert_eq!(
                statement(line, false),
                (Claim::Somebody, 1000, u64::MAX, false)
            );
        }
        assert_eq!(
            claim(&line("DownstreamEnd", "null")).unwrap().1,
            Claim::Nobody
        );
        // something in front of the gateway proves the header
        let alice = Claim::User(user("alice"));
        assert_eq!(statement(&begun, true), (alice, 1000, u64::MAX, false));
    }
    let undated = r#"{"log_type":"DownstreamStart","trace_id":"a1","x_user_id":"alice"}"#;
    assert_eq!(statement(undated, true).2, 0, "it does not run for ever");
}

#[test]
fn a_trace_that_ends_in_the_gateways_own_span_was_made_by_it() {
    let id = "68d08be02255f8c767cfc991acef667a";
    for (ids, made) in [
        (
            r#""x_b3_spanid":"67cfc991acef667a","x_b3_parentspanid":null"#,
            true,
        ),
        (r#""b3_spanid":"67cfc991acef667a""#, true),
        (
            r#""b3_spanid":"67cfc991acef667a","b3_parentspanid":"0d1d64223ad4efa1""#,
            false,
        ),
        (r#""b3_spanid":"0d1d64223ad4efa1""#, false),
        (
            r#""b3":"68d08be02255f8c767cfc991acef667a-67cfc991acef667a-1""#,
            true,
        ),
        (
            r#""b3":"68d08be02255f8c767cfc991acef667a-67cfc991acef667a-1-0d1d64223ad4efa1""#,
            false,
        ),
        (
            r#""b3":"68d08be02255f8c767cfc991acef667a-0d1d64223ad4efa1-1""#,
            false,
        ),
        (r#""b3":null"#, false),
    ] {
        let line = format!(
            r#"{{"trace_id":"{id}",{ids},"x_user_id":"alice","ts":"1970-01-01T00:00:01Z","duration_ms":"20"}}"#
        );
        let alice = Claim::User(user("alice"));
        assert_eq!(statement(&line, false), (alice, 1000, 1020, made), "{ids}");
    }
}

#[test]
fn what_the_gateway_refused_proves_nobody() {
    let line = |status: &str, upstream: &str| {
        format!(
            r#"{{"trace_id":"a1","x_user_id":"alice","response_code":{status},"upstream_host":{upstream}}}"#
        )
    };
    for status in ["401", "403", "\"401\""] {
        assert_eq!(
            claim(&line(status, "null")).unwrap().1,
            Claim::Nobody,
            "{status}"
        );
    }
    // Refused by EMCO, behind the gateway: the token was proven.
    assert_eq!(
        claim(&line("403", "\"10.0.0.1:80\"")).unwrap().1,
        Claim::User(user("alice"))
    );
    assert_eq!(
        claim(&line("500", "null")).unwrap().1,
        Claim::User(user("alice"))
    );
}

#[test]
fn members_of_odd_types_are_stepped_over() {
    let line =
        r#"{"trace_id":"a1","x_user_id":["alice"],"response_code":{},"start_time":17,"other":[1]}"#;
    assert_eq!(claim(line).unwrap().1, Claim::Nobody);
    let long = format!(r#"{{"trace_id":"a1","x_user_id":"{}"}}"#, "a".repeat(600));
    assert_eq!(
        claim(&long).unwrap().1,
        Claim::Nobody,
        "no name is that long"
    );
    assert!(read(b"10.0.0.1 - - GET /", false).is_err());
    assert!(read(b"{\"trace_id\":\"a1\",\"x_us", false).is_err());
}
