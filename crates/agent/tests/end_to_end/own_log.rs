//! Our own log: what must never be in it, and that it never feeds on itself.

use std::fs;
use std::io::Write as _;

use crate::common::bulk::Server;
use crate::common::forward::Receiver;
use crate::common::http;
use crate::common::sidecar::Setup;
use crate::common::until;

/// Told apart from everything else by this word.
const SECRET: &str = "Qz7hunter2Xw";
/// More rounds than lines that follow from what really happens.
const ROUNDS_MAX: usize = 20;

/// Whatever is wrong with settings that somebody wrote a secret into: it is not repeated.
#[tokio::test]
async fn a_secret_in_the_settings_is_never_repeated() {
    let setup = Setup::new().in_pod().variable_admin();
    for lane in [
        format!("  forward: {{address: \"me:{SECRET}@fluentd:24224\"}}\n"),
        format!("  elastic: {{url: \"http://me:{SECRET}@es:9200\"}}\n"),
        format!("  elastic: {{url: \"http://es:9200\", username: me, password: {SECRET}}}\n"),
        format!("  forward:\n    address: \"a:1\"\n    shared_key: {SECRET}\n    adress: b\n"),
    ] {
        let path = setup.folder.path().join("settings.yaml");
        fs::write(&path, setup.yaml() + &lane).unwrap();
        let path = path.to_str().unwrap();
        let checked = setup.run_to_end(&["check", "--config", path]).await;
        assert_eq!(checked.status.code(), Some(64), "{lane}");
        let said = String::from_utf8(checked.stderr).unwrap();
        assert!(said.contains("lanes.") && !said.contains(SECRET), "{said}");
        let sidecar = setup.spawn_with(&["run", "--config", path]);
        until("it answers", async || {
            http::get(setup.admin, "/health").await
        })
        .await;
        let health = sidecar.health().await.to_string();
        assert!(
            health.contains("lanes.") && !health.contains(SECRET),
            "{health}"
        );
        assert!(!sidecar.log().contains(SECRET), "{}", sidecar.log());
        assert!(sidecar.terminate().await.success());
    }
}

/// Secrets of our own, at the most talkative level, with peers that refuse.
#[tokio::test]
async fn our_secrets_are_in_no_line_of_ours() {
    let setup = Setup::new().with("log_level: trace");
    let file = setup.folder.path().join("secret");
    fs::write(&file, SECRET).unwrap();
    let file = file.display();
    let setup = setup
        .with(&format!(
            "hub: {{addresses: [\"http://127.0.0.1:1\"], token_file: {file}}}"
        ))
        .forward("127.0.0.1:1".parse().unwrap())
        .with_lanes(&format!(
            "    shared_key_file: {file}\n    username: me\n    password_file: {file}\n"
        ))
        .elastic("127.0.0.1:1".parse().unwrap())
        .with_lanes(&format!("    api_key_file: {file}\n"));
    let sidecar = setup.start().await;
    setup.service().logrus("for nobody");
    sidecar
        .counts("emco_observer_forward_failures_total", &[], 2)
        .await;
    sidecar
        .counts("emco_observer_elastic_failures_total", &[], 2)
        .await;
    let (_, metrics) = http::get(setup.admin, "/metrics").await.unwrap();
    for text in [sidecar.log(), metrics, sidecar.health().await.to_string()] {
        assert!(!text.is_empty() && !text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn our_own_container_is_not_followed() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    setup.pod.container("emco-observer").text("our own words");
    let _sidecar = setup.start().await;
    let mut service = setup.service();
    service.logrus("theirs");
    elastic.store.has_exactly(&service.written).await;
    assert!(!elastic.store.saw("our own words"));
}

/// A plain file that we write to ourselves is told from the others, also under its rotated name.
#[tokio::test]
async fn a_plain_file_with_our_own_log_is_not_followed() {
    let forward = Receiver::start().await;
    let setup = Setup::new()
        .forward(forward.address)
        .with("log_level: trace");
    let (own, theirs) = (setup.log_path(), setup.folder.path().join("app.log"));
    let files = format!("logs: {{files: [{}, {}]}}", own.display(), theirs.display());
    let setup = setup.instead_of_pod(&files);
    let sidecar = setup.start().await;
    sidecar
        .says(&["this file holds our own log and is not followed"])
        .await;
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(&theirs)
        .unwrap();
    for number in 0..20 {
        let text = format!("line {number} of theirs");
        writeln!(file, "{text}").unwrap();
        until(&text, async || forward.store.saw(&text).then_some(())).await;
        if number == 10 {
            fs::rename(&own, setup.folder.path().join("log.1")).unwrap();
            fs::write(&own, "somebody else goes on\n").unwrap();
        }
    }
    until("the new file", async || {
        forward.store.saw("somebody else goes on").then_some(())
    })
    .await;
    assert!(!forward.store.saw("sidecar is up"));
}

/// Where a runtime carries our log into a container that is followed: what is delivered makes no
/// new line, so it comes to rest, even at the most talkative level.
#[tokio::test]
async fn our_own_lines_make_no_more_of_themselves() {
    let forward = Receiver::start().await;
    let setup = Setup::new()
        .forward(forward.address)
        .with("log_level: trace");
    let sidecar = setup.start().await;
    let mut observer = setup.pod.container("renamed");
    let mut carried = 0;
    for round in 0.. {
        let log = sidecar.log();
        let news: Vec<&str> = log.lines().skip(carried).collect();
        if news.is_empty() {
            break;
        }
        assert!(round < ROUNDS_MAX, "it talks about itself: {news:?}");
        carried += news.len();
        for line in news {
            observer.record(line.as_bytes());
        }
        sidecar.is_level().await;
        let marker = format!("round {round} is through");
        observer.text(&marker);
        until(&marker, async || forward.store.saw(&marker).then_some(())).await;
    }
    assert!(forward.store.saw("sidecar is up"), "it was carried");
}

/// EMCO may get new services: ours runs beside one that it does not know, and says so once.
#[tokio::test]
async fn a_service_that_the_call_map_does_not_know_is_said_once() {
    let elastic = Server::start().await;
    let setup = Setup::new().beside("orchestratr").elastic(elastic.address);
    setup.service().logrus("there is something to follow");
    let sidecar = setup.start().await;
    elastic.store.arrived_lines(1).await;
    let log = sidecar.log();
    let said: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("the call map does not know this service"))
        .collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(
        said[0].contains("WARN") && said[0].contains("\"orchestrator\""),
        "{said:?}"
    );
    assert!(sidecar.terminate().await.success());
}
