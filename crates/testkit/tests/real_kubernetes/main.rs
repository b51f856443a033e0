//! What tests of the control plane stand on: a real API server that validates, admits, stores, issues
//! tokens and calls webhooks, and the programs of operators that work with it, all installed by
//! `cargo xtask peers`. Without them these tests fail where `CI=true` and say so elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics where it fails"
)]

mod webhook;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::peers::{Authority, Kubernetes, Said, free_ports, until};

use self::webhook::Webhook;

const BOUND: Duration = Duration::from_secs(20);

/// Calls one of both Helms.
type Helm = fn(&Kubernetes, &[&str]) -> Said;

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

fn pod(name: &str) -> Value {
    let container = json!({"name": "app", "image": "example.test/app:1"});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
}

/// A pod that the strictest level of Pod Security lets in.
fn hardened_pod(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["securityContext"] = json!({
        "runAsNonRoot": true, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    pod
}

#[test]
fn pods_are_judged_and_tokens_issued() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Kubernetes::start(folder.path()) else {
        return;
    };
    judges_pods(&cluster);
    judges_by_pod_security(&cluster);
    issues_and_reviews_tokens(&cluster);
    let processes = [cluster.server().id(), cluster.etcd().id()];
    drop(cluster);
    for process in processes {
        let entry = format!("/proc/{process}");
        assert!(!Path::new(&entry).is_dir(), "it has ended");
    }
}

fn judges_pods(cluster: &Kubernetes) {
    let version = cluster.ask("/version").object();
    assert_eq!(
        (&version["major"], &version["minor"]),
        (&json!("1"), &json!("34"))
    );
    cluster.namespace("plain", &[]);
    let stored = cluster.create(&pods("plain"), &pod("one")).object();
    assert_eq!(stored["spec"]["serviceAccountName"], "default", "{stored}");
    assert_eq!(
        stored,
        cluster.ask(&format!("{}/one", pods("plain"))).object()
    );
    let mounted = stored.pointer("/spec/volumes/0/projected/sources/0/serviceAccountToken");
    assert!(mounted.is_some(), "as in any cluster: {stored}");
    let mut wrong = pod("two");
    wrong["spec"]["containers"][0]["imagePullPolicy"] = json!("Perhaps");
    let refused = cluster.create(&pods("plain"), &wrong);
    assert!(refused.refusal().contains("imagePullPolicy"), "{refused:?}");
    let tried = format!("{}?dryRun=All", pods("plain"));
    cluster.create(&tried, &pod("three")).object();
    assert_eq!(cluster.ask(&format!("{}/three", pods("plain"))).status, 404);
    let path = format!("{}/one", pods("plain"));
    let label = json!({"metadata": {"labels": {"app": "orchestrator"}}});
    let changed = cluster.patch(&path, &label).object();
    assert_eq!(changed["metadata"]["labels"]["app"], "orchestrator");
    cluster.delete(&path).object();
    assert_eq!(cluster.ask(&path).status, 404);
}

fn judges_by_pod_security(cluster: &Kubernetes) {
    for level in ["baseline", "restricted"] {
        cluster.namespace(level, &[("pod-security.kubernetes.io/enforce", level)]);
    }
    let mut reading = hardened_pod("reading");
    reading["spec"]["volumes"] =
        json!([{"name": "logs", "hostPath": {"path": "/var/log/pods", "type": "Directory"}}]);
    cluster.create(&pods("plain"), &reading).object();
    for level in ["baseline", "restricted"] {
        let refused = cluster.create(&pods(level), &reading);
        assert_eq!(refused.status, 403);
        assert!(refused.refusal().contains("hostPath"), "{refused:?}");
        cluster
            .create(&pods(level), &hardened_pod("hardened"))
            .object();
    }
    cluster.create(&pods("baseline"), &pod("plain")).object();
    let refused = cluster.create(&pods("restricted"), &pod("plain"));
    assert!(refused.refusal().contains("runAsNonRoot"), "{refused:?}");
}

fn issues_and_reviews_tokens(cluster: &Kubernetes) {
    let stored = cluster.create(&pods("plain"), &pod("bound")).object();
    let token = cluster.issue_token("plain", "default", "emco-observer", Some(&stored));
    let review = |token: &str, audience: &str| {
        let asked = json!({"spec": {"token": token, "audiences": [audience]}});
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        cluster.create(path, &asked).object()["status"].clone()
    };
    let status = review(&token, "emco-observer");
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["audiences"], json!(["emco-observer"]));
    let user = &status["user"];
    assert_eq!(user["username"], "system:serviceaccount:plain:default");
    let named = &user["extra"]["authentication.kubernetes.io/pod-name"];
    assert_eq!(named, &json!(["bound"]));
    let id = &user["extra"]["authentication.kubernetes.io/pod-uid"];
    assert_eq!(id[0], stored["metadata"]["uid"]);
    for (token, audience) in [
        (token.as_str(), "another"),
        ("no.such.token", "emco-observer"),
    ] {
        let status = review(token, audience);
        assert_ne!(status["authenticated"], true, "{status}");
    }
    // With a token for the API it is who it is, and may do what it may.
    let own = cluster.issue_token("plain", "default", Kubernetes::AUDIENCE, None);
    assert_eq!(cluster.ask_as(&own, &pods("plain")).status, 403);
    assert_eq!(cluster.ask_as(&token, &pods("plain")).status, 401);
    let config = cluster.kubeconfig_of("plain", "default");
    let config = format!("--kubeconfig={}", config.display());
    let who = cluster.kubectl(&["auth", "whoami", &config, "-o", "jsonpath={..username}"]);
    assert_eq!(who.text(), "system:serviceaccount:plain:default");
}

#[test]
fn kubectl_and_both_helms_work_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(cluster) = Kubernetes::start(folder.path()) else {
        return;
    };
    let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hand"}});
    let applied = cluster.kubectl_with(&["apply", "-f", "-"], &manifest.to_string());
    assert_eq!(applied.text(), "namespace/hand created\n");
    let refused = cluster.kubectl_with(&["apply", "-f", "-"], "kind: Nothing\napiVersion: v1\n");
    assert!(
        !refused.success && refused.errors.contains("Nothing"),
        "{refused:?}"
    );

    let chart = folder.path().join("chart");
    write_chart(&chart);
    let chart = chart.to_str().unwrap();
    let helms: [(&str, Helm); 2] = [("v3", Kubernetes::helm3), ("v4", Kubernetes::helm4)];
    for (version, call) in helms {
        let helm = |arguments: &[&str]| call(&cluster, arguments).text();
        assert!(helm(&["version", "--short"]).starts_with(version));
        let text = || {
            let path = format!("/api/v1/namespaces/{version}/configmaps/said");
            cluster.ask(&path).body["data"]["text"].clone()
        };
        let release = ["said", chart, "--namespace", version];
        helm(&["lint", chart]);
        helm(&[&["install", "--create-namespace"], &release[..]].concat());
        assert_eq!(text(), "v1.34.4 hello");
        helm(&[&["upgrade", "--set", "text=again"], &release[..]].concat());
        assert_eq!(text(), "v1.34.4 again");
        helm(&["uninstall", "said", "--namespace", version]);
        assert_eq!(text(), Value::Null);
    }
}

fn write_chart(folder: &Path) {
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    let files = [
        (
            "Chart.yaml",
            "apiVersion: v2\nname: said\nversion: 1.0.0\nkubeVersion: '>= 1.28.0-0'\n",
        ),
        ("values.yaml", "text: hello\n"),
        (
            "templates/said.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: said\n\
             data:\n  text: {{ .Capabilities.KubeVersion }} {{ .Values.text }}\n",
        ),
    ];
    for (name, text) in files {
        let mut file = File::create(folder.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

/// A webhook as its configuration names it, for pods in the namespace that is called like it.
fn hook(name: &str, client: &Value) -> Value {
    json!({
        "name": format!("{name}.emco-observer.test"), "clientConfig": client,
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 5,
        "failurePolicy": "Fail",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                   "resources": ["pods"], "scope": "Namespaced"}],
    })
}

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

#[test]
fn webhooks_are_called_with_tls_by_address_name_and_service() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Kubernetes::start(folder.path()) else {
        return;
    };
    for namespace in ["hooks", "url", "external", "service"] {
        cluster.namespace(namespace, &[]);
    }
    let authority = Authority::generate("webhooks");
    let names = ["127.0.0.1", "external.hooks.svc", "service.hooks.svc"];
    let identity = authority.issue(&names);
    let [address] = free_ports();
    let services = "/api/v1/namespaces/hooks/services";
    let external = json!({"metadata": {"name": "external"},
                          "spec": {"type": "ExternalName", "externalName": "localhost"}});
    cluster.create(services, &external).object();
    let service = json!({"metadata": {"name": "service"},
                         "spec": {"selector": {"app": "injector"}, "ports": [{"port": 8443}]}});
    let service = cluster.create(services, &service).object();
    let own_address = service["spec"]["clusterIP"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let own_address = std::net::SocketAddr::new(own_address, 8443);
    assert!(own_address.ip().is_loopback(), "{own_address}");

    let authority = webhook::base64(&authority.pem());
    let called = |name: &str, port: u16| {
        json!({"caBundle": authority, "service": {
            "namespace": "hooks", "name": name, "path": "/mutate", "port": port,
        }})
    };
    let url = json!({"caBundle": authority, "url": format!("https://{address}/mutate")});
    let hooks = [
        hook("url", &url),
        hook("external", &called("external", address.port())),
        hook("service", &called("service", 8443)),
    ];
    let first = Webhook::listen(address, &identity);
    let second = Webhook::listen(own_address, &identity);
    let configuration = json!({"metadata": {"name": "injector"}, "webhooks": hooks});
    cluster.create(CONFIGURATIONS, &configuration).object();
    for (way, host) in [
        ("url", address.to_string()),
        ("external", format!("external.hooks.svc:{}", address.port())),
        ("service", "service.hooks.svc:8443".to_owned()),
    ] {
        is_injected(&cluster, way, &host);
    }
    first.check("url", "external");
    cluster.start_controllers();
    makes_pods_of_deployments(&cluster);
    second.check("service", "service");
    drop(second);
    is_refused_then_let_in(&cluster);
}

/// What is stored has what the webhook added.
fn is_injected(cluster: &Kubernetes, namespace: &str, host: &str) {
    let tried = format!("{}?dryRun=All", pods(namespace));
    until("the webhook is called", BOUND, || {
        let tried = cluster.create(&tried, &pod("one")).object();
        tried.pointer("/spec/initContainers").cloned()
    });
    cluster.create(&pods(namespace), &pod("one")).object();
    let stored = cluster.ask(&format!("{}/one", pods(namespace))).object();
    let sidecar = &stored["spec"]["initContainers"][0];
    assert_eq!(sidecar["name"], "sidecar");
    assert_eq!(sidecar["restartPolicy"], "Always", "a native one: {stored}");
    assert_eq!(
        sidecar["terminationMessagePath"], "/dev/termination-log",
        "defaults are set"
    );
    assert_eq!(stored["metadata"]["annotations"]["called"], *host);
}

fn deployment(name: &str) -> Value {
    let labels = json!({"app": name});
    let mut template = pod(name);
    template["metadata"] = json!({"labels": labels});
    json!({"metadata": {"name": name},
           "spec": {"selector": {"matchLabels": labels}, "template": template}})
}

/// Pods of a Deployment are injected, too, when they are let in, and go with their namespace.
fn makes_pods_of_deployments(cluster: &Kubernetes) {
    let deployments = |namespace: &str| format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    cluster
        .create(&deployments("service"), &deployment("made"))
        .object();
    let made = format!("{}?labelSelector=app%3Dmade", pods("service"));
    let stored = until("the pod is made", BOUND, || {
        cluster.ask(&made).object().pointer("/items/0").cloned()
    });
    assert_eq!(
        stored["spec"]["initContainers"][0]["restartPolicy"],
        "Always"
    );
    assert_eq!(
        stored["metadata"]["ownerReferences"][0]["kind"],
        "ReplicaSet"
    );

    cluster.namespace(
        "strict",
        &[("pod-security.kubernetes.io/enforce", "restricted")],
    );
    cluster
        .create(&deployments("strict"), &deployment("refused"))
        .object();
    let path = format!("{}/refused", deployments("strict"));
    let said = until("it is said why there is none", BOUND, || {
        let status = cluster.ask(&path).object()["status"].clone();
        let mut conditions = status["conditions"].as_array()?.iter();
        let failure = conditions.find(|condition| condition["type"] == "ReplicaFailure")?;
        Some(failure["message"].clone())
    });
    assert!(
        said.as_str().unwrap().contains("violates PodSecurity"),
        "{said}"
    );
    cluster.delete("/api/v1/namespaces/strict").object();
    until("the namespace is gone", BOUND, || {
        (cluster.ask("/api/v1/namespaces/strict").status == 404).then_some(())
    });
}

/// Nobody serves the webhook any more.
fn is_refused_then_let_in(cluster: &Kubernetes) {
    let refused = cluster.create(&pods("service"), &pod("two"));
    assert!(
        refused.refusal().contains("failed calling webhook"),
        "{refused:?}"
    );
    let path = format!("{CONFIGURATIONS}/injector");
    let mut configuration = cluster.ask(&path).object();
    configuration["webhooks"][2]["failurePolicy"] = json!("Ignore");
    cluster.replace(&path, &configuration).object();
    let stored = until("the policy is known", BOUND, || {
        let answer = cluster.create(&pods("service"), &pod("two"));
        answer.is_success().then_some(answer.body)
    });
    assert_eq!(stored.pointer("/spec/initContainers"), None);
}
