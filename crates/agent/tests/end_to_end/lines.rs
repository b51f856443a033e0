//! Every kind of line, file and rotation, into both kinds of destination.

use std::time::Duration;

use crate::common::bulk::Server;
use crate::common::forward::Receiver;
use crate::common::pod::Written;
use crate::common::sidecar::{Setup, Sidecar};

/// A sidecar with both destinations.
struct Scene {
    setup: Setup,
    forward: Receiver,
    elastic: Server,
}

impl Scene {
    async fn new() -> Self {
        let (forward, elastic) = (Receiver::start().await, Server::start().await);
        let setup = Setup::new()
            .forward(forward.address)
            .elastic(elastic.address);
        Self {
            setup,
            forward,
            elastic,
        }
    }

    /// Both destinations have exactly these lines, each once, and the figures say the same.
    async fn delivered(&self, sidecar: &Sidecar, written: &[Written]) {
        self.forward.store.has_exactly(written).await;
        self.elastic.store.has_exactly(written).await;
        let count = written.len();
        for store in [&self.forward.store, &self.elastic.store] {
            assert_eq!(store.received(), count, "nothing is sent twice");
        }
        for lane in ["lane=\"forward\"", "lane=\"elastic\""] {
            let labels = [lane, "outcome=\"delivered\""];
            let name = "emco_observer_lane_records_total";
            sidecar.counts(name, &labels, count).await;
            assert_eq!(sidecar.metric(name, &[lane]).await, count as u64);
        }
    }
}

#[tokio::test]
async fn a_directory_that_appears_later_rotations_and_restarts() {
    let scene = Scene::new().await;
    let sidecar = scene.setup.start().await;
    let mut service = scene.setup.service();
    let mut store = Vec::new();
    for restart in 0..3 {
        for file in 0..3 {
            for line in 0..20 {
                let id = service.logrus(&format!("line {line} of file {file} of run {restart}"));
                store.push(id);
            }
            service.rotate();
        }
        service.restart();
    }
    scene.delivered(&sidecar, &service.written).await;
    let document = scene.elastic.store.get(&store[0]).unwrap();
    assert_eq!(document["log.level"], "info");
    assert_eq!(document["service.name"], "orchestrator");
    assert_eq!(document["log.origin.file.name"], "instantiation.go");
    sidecar
        .says(&["following a container's log", "orchestrator"])
        .await;
    let events = "emco_observer_tail_events_total";
    sidecar.counts(events, &["event=\"restart\""], 2).await;
    assert!(sidecar.terminate().await.success());
}

#[tokio::test]
async fn lines_in_pieces_across_files_and_a_last_piece_alone() {
    let scene = Scene::new().await;
    let mut service = scene.setup.service();
    let first = service.physical("stdout", 'P', b"one half, ");
    // the other stream goes its own way in between
    service.text("a whole line");
    service.rotate();
    service.physical("stdout", 'F', b"the other half");
    service.expect(&first, "one half, the other half");
    let sidecar = scene.setup.start().await;
    let last = service.physical("stdout", 'P', b"said while dying");
    service.restart();
    service.text("the next run");
    service.expect(&last, "said while dying");
    scene.delivered(&sidecar, &service.written).await;
}

#[tokio::test]
async fn a_panic_is_one_record() {
    let scene = Scene::new().await;
    let mut service = scene.setup.service();
    let lines = [
        "panic: runtime error: invalid memory address or nil pointer dereference",
        "[signal SIGSEGV: segmentation violation code=0x1 addr=0x18 pc=0x9a3f2c]",
        "",
        "goroutine 1 [running]:",
        "main.main()",
        "\t/src/cmd/main.go:42 +0x1d",
        "exit status 2",
    ];
    let mut first = None;
    for line in lines {
        let place = service.physical("stderr", 'F', line.as_bytes());
        first.get_or_insert(place);
    }
    service.expect(&first.unwrap(), lines.join("\n"));
    let sidecar = scene.setup.start().await;
    scene.delivered(&sidecar, &service.written).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_and_json_that_is_cut() {
    let scene = Scene::new().await;
    let mut service = scene.setup.service();
    let place = service.record(b"nul \0 inside");
    service.expect(&place, "nul \0 inside");
    let place = service.record(b"not \xff\xfe UTF-8");
    service.expect(&place, "not \u{fffd}\u{fffd} UTF-8");
    let cut = service.text(r#"{"level":"info","msg":"cut in the mid"#);
    let empty = service.physical("stdout", 'F', b"");
    service.expect(&empty, "");
    service.logrus("and a good one");
    let sidecar = scene.setup.start().await;
    scene.delivered(&sidecar, &service.written).await;
    for store in [&scene.forward.store, &scene.elastic.store] {
        assert_eq!(store.get(&cut).unwrap()["emco.dialect"], "unknown");
    }
}

/// Longer than a record may be: cut into records of 1 MiB, every byte in one of them.
#[tokio::test]
async fn a_line_of_several_megabytes() {
    let scene = Scene::new().await;
    let mut service = scene.setup.service();
    let text: Vec<u8> = (0..3_500_000u32)
        .map(|at| b'a' + u8::try_from((at ^ (at >> 9)) % 26).unwrap())
        .collect();
    let first = service.record(&text).0;
    service.ago(Duration::ZERO).text("the line after it");
    let sidecar = scene.setup.start().await;
    for store in [&scene.forward.store, &scene.elastic.store] {
        store.contains(&service.written).await;
        let mut pieces = store.lines();
        pieces.retain(|piece| piece["message"] != "the line after it");
        assert!(pieces.len() >= 4, "{} pieces", pieces.len());
        pieces.sort_by_key(|piece| piece["event.sequence"].as_u64());
        let joined: String = pieces.iter().map(crate::common::store::text).collect();
        assert!(joined.as_bytes() == text, "every byte is delivered once");
        assert!(store.get(&first).is_some());
    }
    let peak = "emco_observer_process_resident_memory_peak_bytes";
    let peak = sidecar.metric(peak, &[]).await;
    assert!(peak < 64 << 20, "{peak} bytes for one long line");
}
