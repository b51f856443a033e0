//! Damaged, missing, locked and forbidden files.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::common::bulk::Server;
use crate::common::forward::{Manner, Receiver};
use crate::common::pod::{Container, now};
use crate::common::requests::Request;
use crate::common::sidecar::{Setup, Sidecar};
use crate::common::{http, until};

/// Two destinations, a few lines that they have, and a sidecar that was killed then.
async fn killed() -> (Setup, Receiver, Server, Container) {
    let (forward, elastic) = (Receiver::start().await, Server::start().await);
    let setup = Setup::new()
        .forward(forward.address)
        .elastic(elastic.address);
    let mut service = setup.service();
    for line in 0..50 {
        service.logrus(&format!("before {line}"));
    }
    let sidecar = setup.start().await;
    let (status, _) = sidecar.post_spans(&Request::new(1, now()).body()).await;
    assert_eq!(status, 202);
    forward.store.has_exactly(&service.written).await;
    elastic.store.has_exactly(&service.written).await;
    sidecar.is_level().await;
    sidecar.kill().await;
    for line in 0..50 {
        service.logrus(&format!("while down {line}"));
    }
    (setup, forward, elastic, service)
}

/// The files below `folder` whose name passes.
fn files(folder: &Path, mut wanted: impl FnMut(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_file() && wanted(&name) {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "{} has such a file", folder.display());
    found
}

/// Overwrites the bytes of `path` from `offset` on.
fn damage(path: &Path, offset: u64) {
    let length = fs::metadata(path).unwrap().len();
    assert!(length > offset, "{} has {length} bytes", path.display());
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    let bytes = vec![0xa5; usize::try_from((length - offset).min(1 << 20)).unwrap()];
    file.write_all(&bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_checkpoint_sends_again_and_says_so() {
    let (setup, forward, elastic, mut service) = killed().await;
    let folder = setup.state_dir().join("verdicts");
    for path in files(&folder, |name| name.contains("checkpoint")) {
        damage(&path, 0);
    }
    let sidecar = setup.start().await;
    let said = sidecar
        .says(&["every lane sends the whole log again"])
        .await;
    assert!(said.contains("\"WARN\""), "{said}");
    let damages = "emco_observer_checkpoint_damages_total";
    assert_eq!(sidecar.metric(damages, &[]).await, 1);
    service.logrus("and after");
    forward.store.has_exactly(&service.written).await;
    elastic.store.has_exactly(&service.written).await;
    assert!(
        forward.store.received() > service.written.len(),
        "it was sent again"
    );
    let duplicates = ["lane=\"elastic\"", "outcome=\"duplicate\""];
    sidecar
        .counts("emco_observer_lane_records_total", &duplicates, 50)
        .await;
}

#[tokio::test]
async fn a_damaged_verdict_log_is_started_over_and_says_so() {
    for offset in [0, 200] {
        let (setup, forward, elastic, mut service) = killed().await;
        let folder = setup.state_dir().join("verdicts");
        for path in files(&folder, |name| !name.contains("checkpoint")) {
            damage(&path, offset);
        }
        let sidecar = setup.start().await;
        sidecar.says(&["verdict log damaged"]).await;
        service.logrus("and after");
        forward.store.has_exactly(&service.written).await;
        elastic.store.has_exactly(&service.written).await;
        let queue = ["queue=\"verdicts\""];
        sidecar
            .counts("emco_observer_spool_damages_total", &queue, 1)
            .await;
    }
}

#[tokio::test]
async fn a_damaged_spool_is_started_over_and_says_so() {
    let (setup, forward, elastic, mut service) = killed().await;
    for path in files(&setup.state_dir().join("spans"), |_| true) {
        damage(&path, 0);
    }
    let sidecar = setup.start().await;
    sidecar.says(&["spool damaged"]).await;
    let queue = ["queue=\"spans\""];
    sidecar
        .counts("emco_observer_spool_damages_total", &queue, 1)
        .await;
    let (status, _) = sidecar.post_spans(&Request::new(2, now()).body()).await;
    assert_eq!(status, 202, "new spans are taken");
    service.logrus("and after");
    forward.store.has_exactly(&service.written).await;
    elastic.store.has_exactly(&service.written).await;
}

#[tokio::test]
async fn a_state_directory_that_is_lost_sends_everything_again_under_the_same_ids() {
    let (setup, forward, elastic, service) = killed().await;
    fs::remove_dir_all(setup.state_dir()).unwrap();
    let _sidecar = setup.start().await;
    forward.store.has_exactly(&service.written).await;
    elastic.store.has_exactly(&service.written).await;
}

#[tokio::test]
async fn a_log_directory_that_is_missing_is_waited_for() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let sidecar = setup.start().await;
    let health = sidecar.health().await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["reasons"][0]["part"], "logs");
    let reason = health["reasons"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("is not there: waiting for it"), "{reason}");
    let degraded = "emco_observer_health_degraded_parts";
    assert_eq!(sidecar.metric(degraded, &[]).await, 1);
    let mut service = setup.service();
    service.logrus("there it is");
    elastic.store.has_exactly(&service.written).await;
    sidecar.says(&["works again", "logs"]).await;
    assert_eq!(sidecar.health().await["status"], "ok");
    assert_eq!(sidecar.metric(degraded, &[]).await, 0);
    // It may go later, too.
    sidecar.is_level().await;
    fs::remove_dir_all(&setup.pod.directory).unwrap();
    let reason = until("its health says that the logs are gone", async || {
        let health = sidecar.health().await;
        health["reasons"][0]["reason"].as_str().map(str::to_owned)
    });
    let reason = reason.await;
    assert!(reason.contains("is not there: waiting for it"), "{reason}");
    let mut next = setup.service();
    next.logrus("there it is again");
    let written = [service.written, next.written].concat();
    elastic.store.has_exactly(&written).await;
    assert_eq!(sidecar.health().await["status"], "ok");
}

#[tokio::test]
async fn a_log_file_that_is_missing_is_waited_for() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let file = setup.folder.path().join("service.log");
    let setup = setup.instead_of_pod(&format!("logs: {{files: [{}]}}", file.display()));
    let sidecar = setup.start().await;
    let health = sidecar.health().await;
    assert_eq!(health["reasons"][0]["part"], "logs", "{health}");
    let reason = health["reasons"][0]["reason"].as_str().unwrap();
    let said = "service.log is not there: waiting for it";
    assert!(reason.contains(said), "{reason}");
    let degraded = "emco_observer_health_degraded_parts";
    assert_eq!(sidecar.metric(degraded, &[]).await, 1);
    fs::write(&file, "the first line\n").unwrap();
    elastic.store.arrived_lines(1).await;
    until("its health is well", async || {
        (sidecar.health().await["status"] == "ok").then_some(())
    })
    .await;
}

/// Nobody took the lines, the sidecar died, and with its pod the files went.
#[tokio::test]
async fn lines_whose_file_is_gone_are_counted_and_told_of() {
    let forward = Receiver::start().await;
    forward.behave(Manner::Silent);
    let setup = Setup::new().forward(forward.address);
    let mut service = setup.service();
    let sidecar = setup.start().await;
    for line in 0..50 {
        service.logrus(&format!("line {line}"));
    }
    let logged = "emco_observer_head_logged_records_total";
    sidecar.counts(logged, &[], 50).await;
    sidecar.kill().await;
    fs::remove_dir_all(&setup.pod.directory).unwrap();
    forward.behave(Manner::Sound);
    let sidecar = setup.start().await;
    let dropped = "emco_observer_lane_dropped_records_total";
    let gone = ["lane=\"forward\"", "reason=\"source_gone\""];
    sidecar.counts(dropped, &gone, 50).await;
    let said = "lines are lost: their log file was gone before they were delivered";
    sidecar.says(&[said, "\"lines\":50", "orchestrator"]).await;
    assert_eq!(forward.store.line_ids().len(), 0);
}

/// The disk of the state directory is full, and has room again while the service says nothing.
#[tokio::test]
async fn a_full_disk_makes_lines_wait_and_says_so() {
    let elastic = Server::start().await;
    let setup = Setup::new()
        .elastic(elastic.address)
        .with("shutdown_grace: 2s");
    let mut service = setup.service();
    service.logrus("while there is room");
    let sidecar = setup.start_on_a_small_disk(1 << 20).await;
    elastic.store.has_exactly(&service.written).await;
    sidecar.is_level().await;
    let filler = sidecar.inside(&setup.state_dir()).join("filler");
    let fill = |service: &mut Container| {
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        for line in 0..2_000 {
            service.logrus(&format!("line {line} while there is none"));
        }
    };
    fill(&mut service);
    let failed = "emco_observer_head_failed_writes_total";
    is_degraded(&sidecar, "No space left on device").await;
    sidecar.counts(failed, &[], 1).await;
    let logged = "emco_observer_head_logged_records_total";
    let behind = sidecar.metric(logged, &[]).await;
    assert!(behind < service.written.len() as u64, "{behind} are logged");
    fs::remove_file(&filler).unwrap();
    elastic.store.has_exactly(&service.written).await;
    sidecar.says(&["works again", "state"]).await;
    sidecar.is_level().await;
    fill(&mut service);
    is_degraded(&sidecar, "verdict log cannot be written, lines wait").await;
    let mut sidecar = sidecar;
    sidecar.say_terminate().await;
    assert!(sidecar.ended().await.success());
    let said = "not everything could be delivered; the next start goes on";
    assert!(sidecar.log().contains(said), "{}", sidecar.log());
}

#[tokio::test]
async fn a_log_directory_that_cannot_be_read_is_tried_again() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let directory = &setup.pod.directory;
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    fs::write(directory, "a file stands where the directory should be").unwrap();
    let sidecar = setup.start().await;
    sidecar.says(&["log cannot be read; trying again"]).await;
    let unreadable = ["event=\"unreadable\""];
    sidecar
        .counts("emco_observer_tail_events_total", &unreadable, 1)
        .await;
    let health = sidecar.health().await;
    assert_eq!(health["reasons"][0]["part"], "logs", "{health}");
    fs::remove_file(directory).unwrap();
    let mut service = setup.service();
    service.logrus("now it can be read");
    elastic.store.has_exactly(&service.written).await;
    assert_eq!(sidecar.health().await["status"], "ok");
}

/// Somebody else's permissions: the directory first, then a file in it.
#[tokio::test]
async fn logs_that_may_not_be_read_are_tried_again() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let mut service = setup.service();
    service.logrus("written before anybody may read it");
    let directory = setup.pod.directory.clone();
    let file = service.live();
    for (path, mode) in [(&directory, 0o755), (&file, 0o644)] {
        let allow = |mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        allow(0);
        let sidecar = setup.start_without_privileges().await;
        sidecar
            .says(&["log cannot be read; trying again", "ermission denied"])
            .await;
        let unreadable = ["event=\"unreadable\""];
        sidecar
            .counts("emco_observer_tail_events_total", &unreadable, 1)
            .await;
        let health = sidecar.health().await;
        assert_eq!(health["reasons"][0]["part"], "logs", "{health}");
        allow(mode);
        service.logrus("and now it may be read");
        elastic.store.has_exactly(&service.written).await;
        sidecar.says(&["works again", "logs"]).await;
        assert_eq!(sidecar.health().await["status"], "ok");
        sidecar.is_level().await;
        assert!(sidecar.terminate().await.success());
    }
}

#[tokio::test]
async fn a_state_directory_of_another_process_is_left_alone() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let first = setup.start().await;
    let mut second = setup.spawn();
    assert_eq!(second.ended().await.code(), Some(1));
    let said = "is used by another emco-observer; give each its own `state_dir`";
    assert!(second.log().contains(said), "{}", second.log());
    let mut service = setup.service();
    service.logrus("the first goes on");
    elastic.store.has_exactly(&service.written).await;
    // In a pod the second stays up, says why it does nothing, and takes over when it can.
    let mut pod = setup.in_pod();
    [pod.spans, pod.admin] = crate::common::sidecar::free_addresses();
    let third = pod.start().await;
    is_degraded(&third, said).await;
    first.kill().await;
    service.logrus("the third takes over");
    elastic.store.has_exactly(&service.written).await;
    third.says(&["works again", "state"]).await;
    assert_eq!(third.health().await["status"], "ok");
    assert!(third.terminate().await.success());
}

/// Its health says that the state directory is of no use, and why.
async fn is_degraded(sidecar: &Sidecar, why: &str) {
    let health = until("its health says why", async || {
        let health = sidecar.health().await;
        (health["status"] == "degraded").then_some(health)
    })
    .await;
    assert_eq!(health["reasons"][0]["part"], "state");
    let reason = health["reasons"][0]["reason"].as_str().unwrap();
    assert!(reason.contains(why), "{reason}");
    let degraded = "emco_observer_health_degraded_parts";
    assert_eq!(sidecar.metric(degraded, &[]).await, 1);
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let in_the_way = "a file stands where the directory should be";
    fs::write(setup.state_dir(), in_the_way).unwrap();
    let mut outside = setup.spawn();
    assert_eq!(outside.ended().await.code(), Some(1));
    let said = "cannot make the state directory";
    assert!(outside.log().contains(said), "{}", outside.log());
    let setup = setup.in_pod();
    let mut service = setup.service();
    service.logrus("written before it works");
    let inside = setup.start().await;
    is_degraded(&inside, said).await;
    inside.says(&["degraded", "state", said]).await;
    fs::remove_file(setup.state_dir()).unwrap();
    elastic.store.has_exactly(&service.written).await;
    assert!(inside.terminate().await.success());
    // One that never works ends when it is told to.
    fs::remove_dir_all(setup.state_dir()).unwrap();
    fs::write(setup.state_dir(), in_the_way).unwrap();
    let never = setup.start().await;
    is_degraded(&never, said).await;
    assert!(never.terminate().await.success());
}

#[tokio::test]
async fn settings_that_are_wrong() {
    let setup = Setup::new().with("lane: {}");
    let mut outside = setup.spawn();
    assert_eq!(outside.ended().await.code(), Some(64));
    let said = outside.log();
    assert!(
        said.contains("settings.yaml:7:1: unknown key `lane`; did you mean `lanes`?"),
        "{said}"
    );
    let setup = setup.in_pod().variable_admin();
    let inside = setup.start().await;
    let health = inside.health().await;
    assert_eq!(health["reasons"][0]["part"], "settings");
    let reason = health["reasons"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("line 7 column 1: unknown key `lane`"),
        "{reason}"
    );
    let (status, page) = http::get(setup.admin, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    assert!(
        page.contains("emco_observer_health_degraded_parts 1"),
        "{page}"
    );
    assert!(inside.terminate().await.success());
}

/// What only shows when the parts are set up is a mistake in the settings, too.
#[tokio::test]
async fn a_log_level_that_is_none() {
    let setup = Setup::new().with("log_level: loud=x=y");
    let setup = setup.forward("127.0.0.1:1".parse().unwrap());
    let mut outside = setup.spawn();
    assert_eq!(outside.ended().await.code(), Some(64));
    let inside = setup.in_pod().variable_admin();
    let inside = inside.start().await;
    let health = inside.health().await;
    assert_eq!(health["reasons"][0]["part"], "settings", "{health}");
    assert!(inside.terminate().await.success());
}
