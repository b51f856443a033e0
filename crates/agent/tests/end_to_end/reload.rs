//! Settings that change under a sidecar that runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::bulk::{Server, Trick};
use crate::common::forward::{Manner, Receiver};
use crate::common::sidecar::{Setup, Sidecar, free_addresses};
use crate::common::tls::{self, Front};
use crate::common::{http, otlp, until};
use crate::traces::{each_once, post_calls};

/// The settings file as kubelet mounts a `ConfigMap`: links that are swapped as a whole.
struct ConfigMap {
    root: PathBuf,
    versions: u32,
}

impl ConfigMap {
    fn new(root: &Path, text: &str) -> Self {
        fs::create_dir(root).unwrap();
        let mut map = Self {
            root: root.to_owned(),
            versions: 0,
        };
        map.update(text);
        symlink("..data/settings.yaml", map.path()).unwrap();
        map
    }

    fn path(&self) -> PathBuf {
        self.root.join("settings.yaml")
    }

    fn update(&mut self, text: &str) {
        let before = format!("..{}", self.versions);
        self.versions += 1;
        let version = format!("..{}", self.versions);
        fs::create_dir(self.root.join(&version)).unwrap();
        fs::write(self.root.join(&version).join("settings.yaml"), text).unwrap();
        symlink(&version, self.root.join("..data_tmp")).unwrap();
        fs::rename(self.root.join("..data_tmp"), self.root.join("..data")).unwrap();
        if self.versions > 1 {
            fs::remove_dir_all(self.root.join(before)).unwrap();
        }
    }
}

fn start(setup: &Setup, path: &Path) -> Sidecar {
    fs::create_dir_all(&setup.pod.directory).unwrap();
    setup.spawn_with(&["run", "--config", path.to_str().unwrap()])
}

async fn answers(setup: &Setup) {
    until("the sidecar answers", async || {
        http::get(setup.admin, "/health").await
    })
    .await;
}

/// Waits until its health is as wanted.
async fn health_is(
    sidecar: &Sidecar,
    setup: &Setup,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    until(what, async || {
        http::get(setup.admin, "/health").await?;
        let health = sidecar.health().await;
        holds(&health).then_some(health)
    })
    .await
}

fn reason(health: &Value) -> &str {
    health["reasons"][0]["reason"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_destination_moves_and_nothing_is_lost() {
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    // What was sent to the old one is never acknowledged.
    old.behave(Manner::Silent);
    let setup = Setup::new().forward(old.address);
    let mut map = ConfigMap::new(&setup.folder.path().join("config"), &setup.yaml());
    let sidecar = start(&setup, &map.path());
    answers(&setup).await;
    let mut service = setup.service();
    service.logrus("on its way to the old one");
    sidecar
        .counts("emco_observer_forward_sent_chunks_total", &[], 1)
        .await;
    map.update(
        &setup
            .yaml()
            .replace(&old.address.to_string(), &new.address.to_string()),
    );
    sidecar
        .says(&["settings were read again", "lanes.forward"])
        .await;
    service.logrus("after the move");
    new.store.has_exactly(&service.written).await;
    assert_eq!(sidecar.health().await["status"], "ok");
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn a_server_moves_and_gets_another_login() {
    let (old, new) = (Server::start().await, Server::start().await);
    old.play(&[Trick::Silent]);
    let setup = Setup::new().elastic(old.address);
    let mut map = ConfigMap::new(&setup.folder.path().join("config"), &setup.yaml());
    let sidecar = start(&setup, &map.path());
    answers(&setup).await;
    let mut service = setup.service();
    service.logrus("on its way to the old one");
    until("the old one has it", async || {
        (old.tricks_left() == 0).then_some(())
    })
    .await;
    let key = setup.folder.path().join("key");
    fs::write(&key, "c2VjcmV0\n").unwrap();
    let moved = setup
        .yaml()
        .replace(&old.address.to_string(), &new.address.to_string());
    map.update(&format!("{moved}    api_key_file: {}\n", key.display()));
    service.logrus("after the move");
    new.store.has_exactly(&service.written).await;
    assert!(sidecar.terminate().await.success());
}

/// The settings of `setup` with its receiver of traces behind TLS.
fn secured(setup: &Setup, plain: &otlp::Receiver, front: &Front, authority: &Path) -> String {
    let plain = format!("url: \"http://{}\"", plain.address);
    let secure = format!(
        "url: \"https://{}\"\n    tls: {{ca_file: {:?}, server_name: {}}}",
        front.address,
        authority.to_str().unwrap(),
        tls::NAME,
    );
    let yaml = setup.yaml();
    assert!(yaml.contains(&plain), "{yaml}");
    yaml.replace(&plain, &secure)
}

#[tokio::test]
async fn a_receiver_of_traces_moves_behind_tls_and_nothing_is_lost() {
    let (old, new) = (otlp::Receiver::start().await, otlp::Receiver::start().await);
    // what was sent to the old one is never answered
    old.play(&[otlp::Trick::Silent]);
    let front = Front::of(new.address).await;
    let setup = Setup::new().otlp(old.address, "batch_spans: 10");
    let mut map = ConfigMap::new(&setup.folder.path().join("config"), &setup.yaml());
    let sidecar = start(&setup, &map.path());
    answers(&setup).await;
    post_calls(&sidecar, 0..40, 20).await;
    until("the old one has a request", async || {
        (old.tricks_left() == 0).then_some(())
    })
    .await;
    let authority = setup.folder.path().join("ca.crt");
    front.write_authority(&authority);
    map.update(&secured(&setup, &old, &front, &authority));
    let said = sidecar.says(&["settings were read again"]).await;
    assert!(said.contains("lanes.otlp"), "{said}");
    post_calls(&sidecar, 40..60, 20).await;
    sidecar
        .counts("emco_observer_otlp_exported_spans_total", &[], 60)
        .await;
    each_once(&new, 60);
    assert!(old.spans().is_empty(), "it took none");
    assert_eq!(sidecar.health().await["status"], "ok");
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn an_authority_that_is_replaced_lets_traces_through() {
    let receiver = otlp::Receiver::start().await;
    let (front, other) = (
        Front::of(receiver.address).await,
        Front::of(receiver.address).await,
    );
    let setup = Setup::new().otlp(receiver.address, "");
    let authority = setup.folder.path().join("ca.crt");
    other.write_authority(&authority);
    let settings = secured(&setup, &receiver, &front, &authority);
    let map = ConfigMap::new(&setup.folder.path().join("config"), &settings);
    let sidecar = start(&setup, &map.path());
    answers(&setup).await;
    post_calls(&sidecar, 0..10, 10).await;
    let failures = "emco_observer_otlp_failures_total";
    sidecar.counts(failures, &[r#"reason="tls""#], 1).await;
    let said = "spans were not taken, they will be sent again";
    sidecar.says(&[said, "invalid peer certificate"]).await;
    assert!(front.refused() > 0);
    assert!(receiver.spans().is_empty(), "nobody is trusted by mistake");
    front.write_authority(&authority);
    sidecar
        .counts("emco_observer_otlp_exported_spans_total", &[], 10)
        .await;
    each_once(&receiver, 10);
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn the_hub_and_the_wait_and_the_levels_change() {
    let elastic = Server::start().await;
    let setup = Setup::new()
        .elastic(elastic.address)
        .with("log_level: info");
    let mut map = ConfigMap::new(&setup.folder.path().join("config"), &setup.yaml());
    let sidecar = start(&setup, &map.path());
    answers(&setup).await;
    let hub = crate::common::identity::Hub::start().await;
    let text = setup.yaml().replace("log_level: info", "log_level: debug");
    let text = text.replace("wait: 200ms", "wait: 1s");
    map.update(&format!(
        "{text}hub: {{addresses: [\"http://{}\"]}}\n",
        hub.address
    ));
    let taken = r#"["attribution.wait", "hub.addresses", "log_level"]"#.replace('"', "\\\"");
    sidecar.says(&["settings were read again", &taken]).await;
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_says_so() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let mut map = ConfigMap::new(&setup.folder.path().join("config"), &setup.yaml());
    let sidecar = start(&setup, &map.path());
    answers(&setup).await;
    let elsewhere = setup
        .yaml()
        .replace(&elastic.address.to_string(), "127.0.0.1:1");
    map.update(&format!("{elsewhere}lane: {{}}\nlog_level: loud\n"));
    let degraded = |health: &Value| health["status"] == "degraded";
    let health = health_is(&sidecar, &setup, "it says what is wrong", degraded).await;
    assert_eq!(health["reasons"][0]["part"], "settings");
    assert!(reason(&health).contains("unknown key `lane`"), "{health}");
    assert!(reason(&health).contains("(and 1 more)"), "{health}");
    assert!(
        reason(&health).contains("the settings before it stay in use"),
        "{health}"
    );
    let mut service = setup.service();
    service.logrus("as before");
    elastic.store.has_exactly(&service.written).await;
    map.update(&setup.yaml());
    health_is(&sidecar, &setup, "it is mended", |health| {
        health["status"] == "ok"
    })
    .await;
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn what_needs_a_restart_is_named() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let mut map = ConfigMap::new(&setup.folder.path().join("config"), &setup.yaml());
    let sidecar = start(&setup, &map.path());
    answers(&setup).await;
    let [other] = free_addresses();
    let text = setup
        .yaml()
        .replace("service: orchestrator", "service: rsync");
    map.update(&text.replace(&setup.admin.to_string(), &other.to_string()));
    sidecar
        .says(&[
            "settings were read again",
            "needs_restart",
            "service",
            "admin.listen",
        ])
        .await;
    let health = sidecar.health().await;
    assert_eq!(
        reason(&health),
        "these changes need a restart: service, admin.listen"
    );
    map.update(&setup.yaml());
    health_is(&sidecar, &setup, "they are taken back", |health| {
        health["status"] == "ok"
    })
    .await;
    assert!(sidecar.terminate().await.success());
}

/// Without a change SIGHUP renews the connections; it never ends the process.
#[tokio::test]
async fn sighup_asks_for_a_look() {
    let forward = Receiver::start().await;
    let setup = Setup::new().forward(forward.address);
    let sidecar = setup.start().await;
    let mut service = setup.service();
    service.logrus("before");
    forward.store.has_exactly(&service.written).await;
    sidecar.say("-HUP").await;
    sidecar.says(&["settings were read again"]).await;
    service.logrus("after");
    forward.store.has_exactly(&service.written).await;
    sidecar
        .counts("emco_observer_forward_connections_total", &[], 2)
        .await;
    assert!(sidecar.terminate().await.success());
}

/// In a pod nothing ends because of settings: those that are mended are taken at once, whatever was
/// wrong with them, also if the file was not there.
#[tokio::test]
async fn in_a_pod_settings_are_taken_as_soon_as_they_are_mended() {
    let elastic = Server::start().await;
    let setup = Setup::new()
        .elastic(elastic.address)
        .in_pod()
        .variable_admin();
    let root = setup.folder.path().join("config");
    let sidecar = start(&setup, &root.join("settings.yaml"));
    answers(&setup).await;
    let health = sidecar.health().await;
    assert!(
        reason(&health).contains("cannot read settings file"),
        "{health}"
    );
    let mut map = ConfigMap::new(&root, "servic: orchestrator\n");
    let misspelt = |health: &Value| reason(health).contains("unknown key `servic`");
    health_is(&sidecar, &setup, "the file is read", misspelt).await;
    let mut service = setup.service();
    service.logrus("written before it works");
    map.update(&setup.yaml());
    elastic.store.has_exactly(&service.written).await;
    health_is(&sidecar, &setup, "it works", |health| {
        health["status"] == "ok"
    })
    .await;
    assert!(sidecar.terminate().await.success());
}

/// A state directory that cannot be used is mended by naming another one.
#[tokio::test]
async fn in_a_pod_another_state_directory_can_be_named() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address).in_pod();
    fs::write(
        setup.state_dir(),
        "a file stands where the directory should be",
    )
    .unwrap();
    let mut map = ConfigMap::new(&setup.folder.path().join("config"), &setup.yaml());
    let sidecar = start(&setup, &map.path());
    let degraded = |health: &Value| health["reasons"][0]["part"] == "state";
    health_is(&sidecar, &setup, "it says why", degraded).await;
    let mut service = setup.service();
    service.logrus("waits");
    let state = setup.state_dir().to_str().unwrap().to_owned();
    map.update(&setup.yaml().replace(&state, &format!("{state}-2")));
    elastic.store.has_exactly(&service.written).await;
    assert!(sidecar.terminate().await.success());
}
