//! The three commands, and what an operator has after them.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::peers::{Said, get, until};

use super::trial::{LONG, OWN, Trial, chart, status};

const SERVICES: [&str; 4] = ["clm", "dcm", "orchestrator", "rsync"];
/// From the first command to the first document.
const PROMISED: Duration = Duration::from_mins(2);

#[test]
fn three_commands_bring_records_and_one_takes_all_away() {
    let Some(trial) = Trial::start() else { return };
    let node = &trial.node;
    trial.namespace("emco", false);
    for service in SERVICES {
        trial.make_service("emco", service, &["-lines", "1000000", "-rate", "20"]);
    }
    for service in SERVICES {
        let pod = trial.running("emco", service);
        assert_eq!(pod["spec"]["initContainers"], Value::Null);
    }
    let mut transcript = String::new();
    let mut shown = |command: &str, said: Said| {
        let text = said.text();
        write!(transcript, "$ {command}\n{text}\n").unwrap();
    };
    let start = Instant::now();
    let chart = chart();
    let install = ["install", OWN, chart.to_str().unwrap(), "--namespace", OWN];
    let more = ["--create-namespace", "--wait", "--set", "backend=embedded"];
    let said = node.helm4(&[&install[..], &more].concat());
    shown(
        "helm install emco-observer deploy/helm/emco-observer --namespace emco-observer \
         --create-namespace --wait --set backend=embedded",
        said,
    );
    let installed = start.elapsed();
    for command in [
        "label namespace emco emco-observer.io/inject=true",
        "rollout restart deployment --namespace emco",
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        shown(&format!("kubectl {command}"), node.kubectl(&arguments));
    }
    until("a first record", LONG, || {
        SERVICES
            .iter()
            .any(|service| trial.count(service) > 0)
            .then_some(())
    });
    let first = start.elapsed();
    for service in SERVICES {
        let pod = trial.running("emco", service);
        let sidecar = &pod["spec"]["initContainers"][1];
        assert_eq!(sidecar["name"], OWN, "{service}: {pod}");
        assert_eq!(sidecar["restartPolicy"], "Always", "{service}");
        assert_eq!(status(&pod, OWN)["restartCount"], 0, "{service}: {pod}");
        until("records of each", LONG, || {
            (trial.count(service) > 0).then_some(())
        });
    }
    let all = start.elapsed();
    asks_the_hub(&trial);
    for command in [
        "get pods --namespace emco",
        "get pods --namespace emco-observer",
        "exec --namespace emco-observer deploy/emco-observer-control -- \
         /emco-observer-control status --config /etc/emco-observer-control/config.yaml",
    ] {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let said = node.kubectl(&arguments);
        shown(&format!("kubectl {}", arguments.join(" ")), said);
    }
    let test = ["test", OWN, "--logs", "--namespace", OWN];
    let said = node.helm4(&test);
    shown(
        "helm test emco-observer --logs --namespace emco-observer",
        said,
    );
    println!(
        "from helm install: installed {installed:.1?}, first record {first:.1?}, \
         records of all {all:.1?}\n{transcript}"
    );
    if let Some(path) = std::env::var_os("EMCO_TRANSCRIPT") {
        std::fs::write(path, &transcript).unwrap();
    }
    assert!(first < PROMISED, "{first:?}");
    goes_away(&trial);
}

/// By the name of its Service, with TLS and with the token that kubelet put into the pod.
fn asks_the_hub(trial: &Trial) {
    let pod = trial.running("emco", "orchestrator");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_micros()).unwrap();
    let span = json!([{
        "traceId": "0123456789abcdef0123456789abcdef", "id": "0123456789abcdef",
        "name": "post /v2/projects/p/composite-apps/a/v1/deployment-intent-groups/d/instantiate",
        "timestamp": now - 50_000, "duration": 40_000,
        "localEndpoint": {"serviceName": "orchestrator.emco"},
        "tags": {"otel.library.name": "orchestrator", "service.name": "orchestrator.emco"},
    }]);
    let taken = trial.node.in_pod(&status(&pod, OWN), || {
        let mut stream = TcpStream::connect("127.0.0.1:9411").unwrap();
        let text = span.to_string();
        let length = text.len();
        let head = format!(
            "POST /api/v2/spans HTTP/1.0\r\nHost: zipkin\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(taken.contains(" 202 "), "{taken}");
    let controls = format!(
        "/api/v1/namespaces/{OWN}/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dcontrol"
    );
    until("the hub has answered", LONG, || {
        let pods = trial.node.ask(&controls).object();
        let pods = pods["items"].as_array().unwrap().clone();
        let pages = pods.iter().filter_map(|pod| {
            let address = pod["status"]["podIP"].as_str()?.parse().ok()?;
            let page = get(SocketAddr::new(address, 9464), "/metrics")?;
            Some(String::from_utf8_lossy(&page).into_owned())
        });
        let pages = pages.collect::<String>();
        let mut lines = pages.lines();
        let answered = lines.find(|line| {
            line.starts_with("emco_observer_hub_requests_total")
                && line.contains("outcome=\"served\"")
                && !line.ends_with(" 0")
        });
        answered.map(|line| println!("{line}"))
    });
}

fn goes_away(trial: &Trial) {
    let node = &trial.node;
    node.helm4(&["uninstall", OWN, "--namespace", OWN, "--wait"])
        .text();
    until("nothing of it is left", LONG, || {
        let objects = node.kubectl(&[
            "get",
            "all,configmaps,secrets,serviceaccounts,poddisruptionbudgets,\
             mutatingwebhookconfigurations,clusterroles,clusterrolebindings,roles,rolebindings",
            "--all-namespaces",
            "--selector=app.kubernetes.io/part-of=emco-observer",
            "--output=name",
        ]);
        objects.text().is_empty().then_some(())
    });
    until("its pods are gone", LONG, || {
        let pods = node.ask(&format!("/api/v1/namespaces/{OWN}/pods")).object();
        pods["items"].as_array().unwrap().is_empty().then_some(())
    });
    node.kubectl(&["rollout", "restart", "deployment", "--namespace=emco"])
        .text();
    for service in SERVICES {
        let what = format!("{service} has no sidecar");
        until(&what, LONG, || {
            let pod = trial.running("emco", service);
            pod["spec"]["initContainers"].is_null().then_some(())
        });
    }
}
