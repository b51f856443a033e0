use model::time::UnixNanos;

use super::user;
use crate::access::read;
use crate::store::Claim;

fn claim(line: &str) -> Option<(String, Claim)> {
    let record = read(line.as_bytes()).unwrap()?;
    Some((record.trace.to_string(), record.claim))
}

#[test]
fn the_end_of_a_request_names_its_user() {
    let line = r#"{"b3":null,"duration":7,"method":"POST","path":"/v2/projects","response_code":201,"start_time":"2026-11-23T04:54:47.841Z","upstream_host":"127.0.0.1:19015","x_b3_traceid":"ef1d9066a05e30686af0c7f36cb6f6af","x_user_id":"alice"}"#;
    let record = read(line.as_bytes()).unwrap().unwrap();
    assert_eq!(record.trace.to_string(), "ef1d9066a05e30686af0c7f36cb6f6af");
    assert_eq!(record.claim, Claim::User(user("alice")));
    let at = UnixNanos::parse_rfc3339(b"2026-11-23T04:54:47.841Z").unwrap();
    assert_eq!(record.at, at);
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
fn a_beginning_without_a_user_claims_nothing_and_an_end_claims_nobody() {
    let line =
        |kind: &str| format!(r#"{{"access_log_type":"{kind}","trace_id":"a1","x_user_id":null}}"#);
    assert_eq!(claim(&line("DownstreamStart")), None);
    assert_eq!(claim(&line("DownstreamEnd")).unwrap().1, Claim::Nobody);
    let begun = r#"{"access_log_type":"DownstreamStart","trace_id":"a1","x_user_id":"alice"}"#;
    assert_eq!(claim(begun).unwrap().1, Claim::User(user("alice")));
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
    assert!(read(b"10.0.0.1 - - GET /").is_err());
    assert!(read(b"{\"trace_id\":\"a1\",\"x_us").is_err());
}
