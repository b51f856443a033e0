use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use model::fact::Fact;
use prometheus::Registry;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{operation, trace};
use crate::authority::{Authority, Credential, Judgement, Role, TokenFiles, Unavailable};
use crate::metrics::ServerMetrics;
use crate::server::{AccessSummary, HubServer};
use crate::settings::EngineSettings;
use crate::wire::{Question, Receipt, Reply, Tell, VERSION, WireFact, decode, encode};

const PATIENCE: Duration = Duration::from_secs(8);

struct Tokens;

impl Authority for Tokens {
    fn role<'a>(&'a self, token: Option<&'a [u8]>) -> Judgement<'a> {
        Box::pin(std::future::ready(match token {
            Some(b"sidecar") => Ok(Some(Role::Sidecar)),
            Some(b"gateway") => Ok(Some(Role::Gateway)),
            Some(b"later") => Err(Unavailable),
            _ => Ok(None),
        }))
    }
}

fn hub() -> Arc<HubServer> {
    let metrics = ServerMetrics::new(&Registry::new()).unwrap();
    HubServer::new(
        EngineSettings::default(),
        Tokens,
        metrics,
        CancellationToken::new(),
    )
}

async fn send(
    hub: &HubServer,
    method: Method,
    path: &str,
    token: &str,
    body: Vec<u8>,
) -> (StatusCode, Bytes) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("bearer {token}"))
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = timeout(PATIENCE, hub.handle(request)).await.unwrap();
    let (head, body) = response.into_parts();
    (
        head.status,
        net::body::read_capped(body, 1 << 20).await.unwrap(),
    )
}

async fn post(hub: &HubServer, path: &str, token: &str, body: Vec<u8>) -> (StatusCode, Bytes) {
    send(hub, Method::POST, path, token, body).await
}

fn tell(facts: &[Fact]) -> Vec<u8> {
    encode(&Tell {
        version: VERSION,
        facts: facts.iter().map(WireFact::from).collect(),
    })
}

fn ask(number: u8, wait_ms: u64) -> Question {
    Question {
        version: VERSION,
        traces: vec![trace(number).to_string()],
        wait_ms,
        ..Question::default()
    }
}

#[tokio::test]
async fn only_the_gateway_says_who_a_trace_belongs_to() {
    let hub = hub();
    let facts = tell(&[
        super::trace_user(1, "alice"),
        Fact::Operation(operation(1, "ctx")),
    ]);
    let (status, body) = post(&hub, "/v1/tell", "sidecar", facts.clone()).await;
    let receipt: Receipt = decode(&body).unwrap();
    assert_eq!(
        (status, receipt.new, receipt.refused),
        (StatusCode::OK, 1, 1)
    );
    let (_, body) = post(&hub, "/v1/tell", "gateway", facts).await;
    let receipt: Receipt = decode(&body).unwrap();
    assert_eq!((receipt.new, receipt.known, receipt.refused), (1, 1, 0));
}

#[tokio::test]
async fn the_access_log_names_persons_and_says_what_became_of_it() {
    let hub = hub();
    let line = |user: &str| {
        format!(
            r#"{{"x_b3_traceid":"{}","x_user_id":{user},"response_code":200}}"#,
            trace(1)
        )
    };
    let log = [
        line("\"alice\""),
        line("\"alice\""),
        "broken".to_owned(),
        String::new(),
    ]
    .join("\n");
    let (status, body) = post(&hub, "/v1/access-log", "gateway", log.into_bytes()).await;
    let receipt: Receipt = decode(&body).unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!((receipt.new, receipt.known, receipt.ignored), (1, 1, 1));
    let (status, _) = post(
        &hub,
        "/v1/access-log",
        "sidecar",
        line("\"bob\"").into_bytes(),
    )
    .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let summary = hub.tell_access_log(line("null").as_bytes());
    assert_eq!(
        summary,
        AccessSummary {
            conflicts: 1,
            ..AccessSummary::default()
        }
    );
}

#[tokio::test]
async fn a_question_waits_until_its_answer_is_told() {
    let hub = hub();
    let asker = {
        let hub = Arc::clone(&hub);
        tokio::spawn(async move { post(&hub, "/v1/ask", "sidecar", encode(&ask(1, 30_000))).await })
    };
    let waiting = hub.metrics_for_tests().waiting.clone();
    timeout(PATIENCE, async {
        while waiting.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    post(
        &hub,
        "/v1/tell",
        "gateway",
        tell(&[super::trace_user(1, "alice")]),
    )
    .await;
    let (_, body) = timeout(PATIENCE, asker).await.unwrap().unwrap();
    let reply: Reply = decode(&body).unwrap();
    assert_eq!(
        reply.facts,
        [WireFact::from(&super::trace_user(1, "alice"))]
    );
    let again = Question {
        hub: reply.hub,
        after: reply.upto,
        ..ask(1, 1)
    };
    let (_, body) = post(&hub, "/v1/ask", "sidecar", encode(&again)).await;
    assert_eq!(decode::<Reply>(&body).unwrap().facts, [], "nothing newer");
    let other_life = Question {
        hub: reply.hub + 1,
        ..again
    };
    let (_, body) = post(&hub, "/v1/ask", "sidecar", encode(&other_life)).await;
    assert_eq!(decode::<Reply>(&body).unwrap().facts.len(), 1, "everything");
}

#[tokio::test]
async fn an_asker_that_leaves_leaves_nothing_behind() {
    let hub = hub();
    let asked = post(&hub, "/v1/ask", "sidecar", encode(&ask(1, 30_000)));
    assert!(timeout(Duration::from_millis(20), asked).await.is_err());
    assert_eq!(hub.waiting_for_tests(), (0, 0));
}

#[tokio::test]
async fn requests_that_cannot_be_served_get_a_sentence() {
    let hub = hub();
    let many = Question {
        traces: vec!["a1".to_owned(); 20_000],
        ..ask(1, 0)
    };
    for (method, path, token, body, status, sentence) in [
        (
            Method::POST,
            "/v1/tell",
            "",
            b"{}".to_vec(),
            StatusCode::UNAUTHORIZED,
            "no bearer token that is known here",
        ),
        (
            Method::POST,
            "/v1/tell",
            "later",
            b"{}".to_vec(),
            StatusCode::SERVICE_UNAVAILABLE,
            "tokens cannot be checked now",
        ),
        (
            Method::POST,
            "/v1/tell",
            "sidecar",
            b"<html>".to_vec(),
            StatusCode::BAD_REQUEST,
            "reading what the peer sent",
        ),
        (
            Method::POST,
            "/v1/tell",
            "sidecar",
            br#"{"version":2}"#.to_vec(),
            StatusCode::BAD_REQUEST,
            "the peer speaks version 2 of the hub protocol, this program speaks 1",
        ),
        (
            Method::POST,
            "/v1/ask",
            "sidecar",
            encode(&many),
            StatusCode::PAYLOAD_TOO_LARGE,
            "a question may name 16384 things",
        ),
        (
            Method::POST,
            "/v1/tell",
            "sidecar",
            vec![b' '; 5 << 20],
            StatusCode::PAYLOAD_TOO_LARGE,
            "body is longer than",
        ),
        (
            Method::GET,
            "/v1/ask",
            "sidecar",
            Vec::new(),
            StatusCode::METHOD_NOT_ALLOWED,
            "are posts",
        ),
        (
            Method::POST,
            "/v3/x",
            "sidecar",
            Vec::new(),
            StatusCode::NOT_FOUND,
            "there are /v1/tell",
        ),
    ] {
        let (got, body) = send(&hub, method, path, token, body).await;
        let body = String::from_utf8_lossy(&body);
        assert_eq!(got, status, "{body}");
        assert!(body.contains(sentence), "{body}");
    }
    let (status, _) = send(&hub, Method::GET, "/health", "", Vec::new()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_stopping_hub_lets_its_askers_go() {
    let metrics = ServerMetrics::new(&Registry::new()).unwrap();
    let (stop, anyone) = (
        CancellationToken::new(),
        TokenFiles {
            sidecar: Credential::Anyone,
            ..TokenFiles::default()
        },
    );
    let hub = HubServer::new(EngineSettings::default(), anyone, metrics, stop.clone());
    let asker = {
        let hub = Arc::clone(&hub);
        tokio::spawn(async move { post(&hub, "/v1/ask", "", encode(&ask(1, 30_000))).await })
    };
    stop.cancel();
    let (status, _) = timeout(PATIENCE, asker).await.unwrap().unwrap();
    assert_eq!(status, StatusCode::OK);
}
