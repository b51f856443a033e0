//! Installed, upgraded and taken away again, in a cluster that has controllers and no nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::peers::{Kubernetes, Said, until};

use super::{Helm, chart};

const BOUND: Duration = Duration::from_secs(30);

const OWN: &str = "emco-observer";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const CERTIFICATES: &str =
    "/api/v1/namespaces/emco-observer/secrets/emco-observer-control-certificates";
const AUTHORITY: &str = "/api/v1/namespaces/emco/configmaps/emco-observer-ca";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/emco-observer/deployments";

/// One release with one of both Helms.
struct Release<'a> {
    cluster: &'a Kubernetes,
    helm: Helm,
}

impl Release<'_> {
    fn call(&self, before: &[&str], after: &[&str]) -> Said {
        let chart = chart();
        let release = [OWN, chart.to_str().unwrap(), "--namespace", OWN];
        let values = ["--set", "backend=embedded"];
        (self.helm)(self.cluster, &[before, &release, &values, after].concat())
    }
}

#[test]
fn helm_3_installs_upgrades_and_leaves_no_trace() {
    installed_upgraded_and_gone(Kubernetes::helm3);
}

#[test]
fn helm_4_installs_upgrades_and_leaves_no_trace() {
    installed_upgraded_and_gone(Kubernetes::helm4);
}

fn installed_upgraded_and_gone(helm: Helm) {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut cluster) = Kubernetes::start(folder.path()) else {
        return;
    };
    cluster.start_controllers();
    cluster.namespace("emco", &[("emco-observer.io/inject", "true")]);
    let restricted = ("pod-security.kubernetes.io/enforce", "restricted");
    cluster.namespace(OWN, &[restricted]);
    cluster.namespace("other", &[]);
    let cluster = &cluster;
    until("every namespace has what controllers make", BOUND, || {
        let maps = objects(cluster);
        let roots = maps
            .iter()
            .filter(|name| name.ends_with("kube-root-ca.crt"));
        (roots.count() >= 4).then_some(())
    });
    let before = objects(cluster);
    let release = Release { cluster, helm };
    let notes = release.call(&["install"], &[]).text();
    for part in [
        "kubectl rollout restart deployment --namespace emco\n",
        "kubectl port-forward deployment/emco-observer-lab 9200",
    ] {
        assert!(notes.contains(part), "{notes}");
    }
    pods_are_let_in(cluster);
    may_do_what_it_has_to(cluster);
    may_do_nothing_else(cluster);
    is_kept_over_an_upgrade(&release);
    is_the_only_one(&release);
    goes_away(&release, &before);
}

fn objects(cluster: &Kubernetes) -> BTreeSet<String> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "--output=name"]);
    let kinds = kinds.text();
    // Events and leases come and go by themselves.
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.starts_with("leases"))
        .collect();
    let kinds = kinds.join(",");
    let form =
        "jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}";
    let listed = cluster.kubectl(&["get", &kinds, "--all-namespaces", "--output", form]);
    listed.text().lines().map(str::to_owned).collect()
}

/// Of the strictest level of Pod Security, and more than one of the control plane.
fn pods_are_let_in(cluster: &Kubernetes) {
    for (component, count) in [("control", 2), ("lab", 1)] {
        let selector = format!("labelSelector=app.kubernetes.io/component%3D{component}");
        let path = format!("/api/v1/namespaces/{OWN}/pods?{selector}");
        until(component, BOUND, || {
            let pods = cluster.ask(&path).object();
            (pods["items"].as_array()?.len() == count).then_some(())
        });
    }
}

fn token(cluster: &Kubernetes) -> String {
    cluster.issue_token(OWN, "emco-observer-control", Kubernetes::AUDIENCE, None)
}

/// Everything that the control plane does, as who it is.
fn may_do_what_it_has_to(cluster: &Kubernetes) {
    let config = cluster.kubeconfig_of(OWN, "emco-observer-control");
    let config = format!("--kubeconfig={}", config.display());
    let call = |arguments: &[&str]| cluster.kubectl(&[&[config.as_str()], arguments].concat());
    let token = token(cluster);
    for path in [
        "/api/v1/namespaces",
        "/api/v1/nodes",
        "/api/v1/namespaces/emco/pods",
        CERTIFICATES,
        AUTHORITY,
        &format!("{WEBHOOKS}/{OWN}"),
        &format!("{WEBHOOKS}?fieldSelector=metadata.name%3D{OWN}"),
        &format!(
            "/api/v1/namespaces/{OWN}/secrets?fieldSelector=\
             metadata.name%3Demco-observer-control-certificates"
        ),
    ] {
        cluster.ask_as(&token, path).object();
    }
    let written = r#"{"data": {"ca.crt": "YQ==", "tls.key": "Yg=="}}"#;
    let certificates = "secret/emco-observer-control-certificates";
    call(&[
        "patch",
        certificates,
        "--namespace",
        OWN,
        "--type=merge",
        "--patch",
        written,
    ])
    .text();
    let written = r#"{"data": {"ca.crt": "a"}}"#;
    let authority = "configmap/emco-observer-ca";
    call(&[
        "patch",
        authority,
        "--namespace=emco",
        "--type=merge",
        "--patch",
        written,
    ])
    .text();
    let written =
        r#"[{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "YQ=="}]"#;
    let webhook = "mutatingwebhookconfiguration/emco-observer";
    call(&["patch", webhook, "--type=json", "--patch", written]).text();
    let review = json!({"spec": {"token": "no.such.token", "audiences": ["emco-observer"]}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    cluster.create_as(&token, reviews, &review).object();
    let event = json!({
        "metadata": {"generateName": "skipped-"}, "action": "Inject", "reason": "Skipped",
        "type": "Normal", "eventTime": "2026-01-01T00:00:00.000000Z", "note": "why",
        "reportingController": "emco-observer.io/control", "reportingInstance": "one",
        "regarding": {"kind": "ReplicaSet", "namespace": "emco", "name": "orchestrator"},
    });
    let events = "/apis/events.k8s.io/v1/namespaces/emco/events";
    cluster.create_as(&token, events, &event).object();
}

fn may_do_nothing_else(cluster: &Kubernetes) {
    let config = cluster.kubeconfig_of(OWN, "emco-observer-control");
    let config = format!("--kubeconfig={}", config.display());
    let rights = |namespace: &str| {
        let arguments = [
            "auth",
            "can-i",
            "--list",
            "--no-headers",
            "--namespace",
            namespace,
        ];
        let text = cluster
            .kubectl(&[&[config.as_str()], &arguments[..]].concat())
            .text();
        let mut lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            // What everybody may.
            .filter(|line| !line.contains("selfsubject") && !line.starts_with("[/"))
            .collect();
        lines.sort();
        lines.join("\n")
    };
    let all =
        [OWN, "emco", "other"].map(|namespace| format!("# {namespace}\n{}\n", rights(namespace)));
    insta::assert_snapshot!("rights", all.concat());

    let token = token(cluster);
    for path in [
        "/api/v1/secrets",
        "/api/v1/namespaces/emco/secrets",
        "/api/v1/namespaces/emco-observer/secrets",
        "/api/v1/namespaces/emco/configmaps/emco-observer",
        "/api/v1/namespaces/emco/pods/orchestrator",
        "/api/v1/namespaces/other/pods",
        "/api/v1/namespaces/emco",
        WEBHOOKS,
    ] {
        assert_eq!(cluster.ask_as(&token, path).status, 403, "{path}");
    }
    let named = json!({"metadata": {"name": "another"}});
    for path in [
        "/api/v1/namespaces/emco-observer/secrets",
        "/api/v1/namespaces/emco/configmaps",
        "/api/v1/namespaces/emco/pods",
        WEBHOOKS,
    ] {
        assert_eq!(
            cluster.create_as(&token, path, &named).status,
            403,
            "{path}"
        );
    }
}

/// What replicas wrote stays.
fn is_kept_over_an_upgrade(release: &Release<'_>) {
    let cluster = release.cluster;
    let secret = cluster.ask(CERTIFICATES).object();
    assert_eq!(secret["data"]["ca.crt"], "YQ==");
    release
        .call(&["upgrade"], &["--set", "control.replicas=3"])
        .text();
    let deployment = cluster
        .ask(&format!("{DEPLOYMENTS}/emco-observer-control"))
        .object();
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(cluster.ask(CERTIFICATES).object()["data"], secret["data"]);
    let webhook = cluster.ask(&format!("{WEBHOOKS}/{OWN}")).object();
    assert_eq!(webhook["webhooks"][0]["clientConfig"]["caBundle"], "YQ==");
    assert_eq!(
        cluster.ask(AUTHORITY).object()["data"],
        json!({"ca.crt": "a"})
    );
}

/// Two injectors would take each other's sidecars out.
fn is_the_only_one(release: &Release<'_>) {
    let chart = chart();
    let arguments = [
        "install",
        "second",
        chart.to_str().unwrap(),
        "--namespace=other",
    ];
    let values = ["--set", "backend=embedded"];
    let said = (release.helm)(release.cluster, &[&arguments[..], &values].concat());
    assert!(!said.success, "{said:?}");
    assert!(
        said.errors.contains("invalid ownership metadata"),
        "{said:?}"
    );
}

fn goes_away(release: &Release<'_>, before: &BTreeSet<String>) {
    let cluster = release.cluster;
    let said = (release.helm)(cluster, &["uninstall", OWN, "--namespace", OWN, "--debug"]);
    let text = format!("{}{}", said.output, said.errors);
    let deleted: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("tarting delet"))
        .collect();
    let first = deleted.first().expect("it is said what is deleted");
    assert!(first.contains("MutatingWebhookConfiguration"), "{text}");
    assert!(said.success, "{text}");
    until("nothing is left", BOUND, || {
        let left = objects(cluster);
        (left == *before).then_some(())
    });
    let pod = json!({"metadata": {"name": "after", "labels": {"app": "orchestrator"}},
                     "spec": {"containers": [{"name": "app", "image": "example.test/app:1"}]}});
    let pods = "/api/v1/namespaces/emco/pods";
    let stored: Value = cluster.create(pods, &pod).object();
    assert_eq!(stored["spec"]["containers"].as_array().unwrap().len(), 1);
    cluster.delete(&format!("{pods}/after")).object();
}
