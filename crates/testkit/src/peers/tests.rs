use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const BOUND: Duration = Duration::from_secs(20);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Sends one span as Zipkin v2.
fn send(address: SocketAddr) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let body = json!([{
        "traceId": TRACE, "id": "b7ad6b7169203331", "name": "get", "kind": "SERVER",
        "timestamp": u64::try_from(now.unwrap().as_micros()).unwrap(), "duration": 1500,
        "localEndpoint": {"serviceName": "orchestrator"}, "tags": {"user.id": "carol"},
    }])
    .to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let head = format!(
        "POST /api/v2/spans HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[test]
fn jaeger_finds_a_persons_trace() {
    let folder = tempfile::tempdir().unwrap();
    let Some(jaeger) = Jaeger::start(folder.path()) else {
        return;
    };
    send(jaeger.zipkin);
    let find = |person: &str| {
        let tags = encoded(&json!({"user.id": person}).to_string());
        jaeger.ask(&format!(
            "/api/traces?service=orchestrator&lookback=1h&tags={tags}"
        ))
    };
    let found = until("the trace is found", BOUND, || {
        find("carol").pointer("/data/0/traceID").cloned()
    });
    assert_eq!(found, TRACE);
    assert_eq!(find("bob")["data"], json!([]));
    let process = jaeger.process().id();
    drop(jaeger);
    assert!(
        !Path::new(&format!("/proc/{process}")).is_dir(),
        "it has ended"
    );
}

#[test]
fn the_collector_writes_what_it_received() {
    let folder = tempfile::tempdir().unwrap();
    let Some(collector) = Collector::to_file(folder.path()) else {
        return;
    };
    send(collector.zipkin);
    let spans = until("the span is written", BOUND, || {
        Some(collector.spans()).filter(|spans| !spans.is_empty())
    });
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0]["traceId"], TRACE);
    let service = json!({"key": "service.name", "value": {"stringValue": "orchestrator"}});
    assert_eq!(spans[0]["resource"]["attributes"], json!([service]));
}

#[test]
fn the_collector_sends_on_what_it_received() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let Some(end) = Collector::to_file(first.path()) else {
        return;
    };
    let between = Collector::onward(second.path(), end.otlp).unwrap();
    send(between.zipkin);
    let spans = until("the span arrives", BOUND, || {
        Some(end.spans()).filter(|spans| !spans.is_empty())
    });
    assert_eq!(spans[0]["spanId"], "b7ad6b7169203331");
}

#[test]
fn prometheus_scrapes_itself() {
    let folder = tempfile::tempdir().unwrap();
    let Some(scraped) = Prometheus::start(folder.path(), &[]) else {
        return;
    };
    let target = Target {
        job: "other".to_owned(),
        address: scraped.http,
    };
    let second = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(second.path(), &[target]).unwrap();
    let up = until("the target is scraped", BOUND, || {
        let series = prometheus.query("up{job=\"other\"} == 1");
        series.first().cloned()
    });
    assert_eq!(up.pointer("/value/1"), Some(&Value::from("1")));
    let health = prometheus.ask("/api/v1/targets");
    assert_eq!(
        health.pointer("/data/activeTargets/0/health"),
        Some(&Value::from("up"))
    );
}

#[test]
fn promtool_judges_expositions() {
    let good = b"# HELP a_total What.\n# TYPE a_total counter\na_total 1\n";
    let Some(said) = check_metrics(good) else {
        return;
    };
    assert_eq!(said, "");
    assert_ne!(check_metrics(b"a_total one\n").unwrap(), "");
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"},
        "spec": {
            "initContainers": [{"name": "sidecar", "image": "a", "restartPolicy": "Always"}],
            "containers": [{
                "name": "app", "image": "b", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "20Mi"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
            }],
        },
    })
}

#[test]
fn schemas_refuse_what_no_version_knows() {
    let mut wrong = [pod(), pod(), pod(), pod(), pod()];
    wrong[1]["spec"]["initContainers"][0]["restartPolice"] = json!("Always");
    wrong[2]["spec"]["volumes"] = json!([{"emptyDir": {}}]);
    wrong[3]["spec"]["containers"][0]["command"] = json!("sh");
    wrong[4]["kind"] = json!("Pot");
    let Some(mistakes) = check_schemas(&wrong) else {
        return;
    };
    let expected = [
        (1, "spec/initContainers/0", "'restartPolice' was unexpected"),
        (2, "spec/volumes/0", "'name' is a required property"),
        (3, "spec/containers/0/command", "'sh' is not of type"),
        (4, "", "no kind Pot of v1"),
    ];
    assert_eq!(mistakes.len(), expected.len() * 10, "{mistakes:?}");
    for (mistake, (object, path, message)) in mistakes.iter().zip(expected.iter().cycle()) {
        assert_eq!((mistake.object, mistake.path.as_str()), (*object, *path));
        assert!(mistake.message.contains(message), "{mistake:?}");
    }
}

#[test]
fn schemas_differ_by_version() {
    let mut new = pod();
    new["spec"]["resources"] = json!({"limits": {"cpu": "1"}});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "policy"},
    });
    let Some(mistakes) = check_schemas(&[new, policy]) else {
        return;
    };
    let of = |object: usize| {
        let mistakes = mistakes.iter().filter(|mistake| mistake.object == object);
        mistakes
            .map(|mistake| &*mistake.version)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(0), ["1.28", "1.29", "1.30", "1.31"], "{mistakes:?}");
    assert_eq!(of(1), ["1.28", "1.29"], "{mistakes:?}");
}

#[test]
fn texts_are_encoded_for_addresses() {
    assert_eq!(encoded("a-b_1.~"), "a-b_1.~");
    assert_eq!(encoded("{\"ü\"}"), "%7B%22%C3%BC%22%7D");
}
