//! Every kind of line, file and rotation, into both kinds of destination.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;

use crate::common::bulk::Server;
use crate::common::forward::Receiver;
use crate::common::pod::Written;
use crate::common::sidecar::{Setup, Sidecar};
use crate::common::store;

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

/// So many lines are counted as flawed in this way, and an operator is told.
async fn is_flawed(sidecar: &Sidecar, flaw: &str, lines: usize, sentence: &str) {
    let name = "emco_observer_decode_flawed_lines_total";
    let label = format!("flaw=\"{flaw}\"");
    sidecar.counts(name, &[&label], lines).await;
    assert_eq!(sidecar.metric(name, &[&label]).await, lines as u64);
    let said = sidecar.says(&[sentence, flaw]).await;
    assert!(said.contains("\"WARN\""), "{said}");
    let again = sidecar.log().matches(sentence).count();
    assert_eq!(again, 1, "it is not said of every line");
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
    is_flawed(&sidecar, "partial", 1, "the rest of a line did not come").await;
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
    let place = service.record(b"again \xff and \0");
    service.expect(&place, "again \u{fffd} and \0");
    let cut = service.text(r#"{"level":"info","msg":"cut in the mid"#);
    let empty = service.physical("stdout", 'F', b"");
    service.expect(&empty, "");
    service.logrus("and a good one");
    let sidecar = scene.setup.start().await;
    scene.delivered(&sidecar, &service.written).await;
    for store in [&scene.forward.store, &scene.elastic.store] {
        assert_eq!(store.get(&cut).unwrap()["emco.dialect"], "unknown");
    }
    for (flaw, lines, sentence) in [
        ("nul", 2, "a line has nul bytes"),
        ("invalid_utf8", 2, "a line is no valid utf-8"),
        ("broken_json", 1, "a line begins like json and is none"),
    ] {
        is_flawed(&sidecar, flaw, lines, sentence).await;
    }
    // A sidecar that starts anew has read them already.
    sidecar.kill().await;
    let sidecar = scene.setup.start().await;
    service.logrus("the next one");
    scene.forward.store.has_exactly(&service.written).await;
    let flawed = "emco_observer_decode_flawed_lines_total";
    assert_eq!(sidecar.metric(flawed, &[]).await, 0);
}

/// A line of JSON that ends anywhere is shipped as it is, each once.
#[tokio::test]
async fn json_that_is_cut_anywhere() {
    let scene = Scene::new().await;
    let mut service = scene.setup.service();
    let whole = r#"{"level":"info","msg":"said \"so\"","project":"p1","n":[1,{"a":true}]}"#;
    for end in 1..whole.len() {
        let place = service.record(&whole.as_bytes()[..end]);
        service.expect(&place, &whole[..end]);
    }
    let sidecar = scene.setup.start().await;
    scene.delivered(&sidecar, &service.written).await;
    let sentence = "a line begins like json and is none";
    is_flawed(&sidecar, "broken_json", whole.len() - 1, sentence).await;
}

/// Longer than a record may be: cut into records of 1 MiB, every byte in one of them, and memory
/// stays bounded.
#[tokio::test]
async fn a_line_of_a_hundred_megabytes() {
    let forward = Receiver::start().await;
    let setup = Setup::new().forward(forward.address);
    let mut service = setup.service();
    let part: Vec<u8> = (0..50_000u32)
        .map(|at| b'a' + u8::try_from((at ^ (at >> 9)) % 26).unwrap())
        .collect();
    let text = part.repeat(2_000);
    let first = service.record(&text).0;
    service.text("the line after it");
    let sidecar = setup.start().await;
    forward.store.contains(&service.written).await;
    assert!(forward.store.get(&first).is_some());
    let mut pieces = forward.store.lines();
    pieces.retain(|piece| piece["message"] != "the line after it");
    assert!(pieces.len() >= 95, "{} pieces", pieces.len());
    pieces.sort_by_key(|piece| piece["event.sequence"].as_u64());
    let joined: String = pieces.iter().map(store::text).collect();
    assert!(joined.as_bytes() == text, "every byte is delivered once");
    let sentence = "a line is longer than a record may be";
    is_flawed(&sidecar, "split", pieces.len(), sentence).await;
    let peak = "emco_observer_process_resident_memory_peak_bytes";
    let peak = sidecar.metric(peak, &[]).await;
    assert!(peak < 64 << 20, "{peak} bytes for one long line");
}

/// Outside Kubernetes: plain files, named in the settings.
#[tokio::test]
async fn a_plain_file_that_is_rotated_while_we_are_up_and_while_we_are_not() {
    let forward = Receiver::start().await;
    let setup = Setup::new().forward(forward.address);
    let folder = setup.folder.path().to_owned();
    let (path, rotated) = (folder.join("app.log"), folder.join("app.log.1"));
    let named = format!("logs: {{files: [{:?}]}}", path.to_str().unwrap());
    let setup = setup.instead_of_pod(&named);
    let write = |text: &str| {
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).open(&path).unwrap();
        writeln!(file, "{text}").unwrap();
    };
    let store = &forward.store;
    let has = async |texts: &[&str]| {
        store.arrived_lines(texts.len()).await;
        let lines = store.lines();
        let said: BTreeSet<String> = lines.iter().map(store::text).collect();
        let wanted: BTreeSet<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(said, wanted);
        assert_eq!(lines.len(), texts.len(), "each has one id");
    };
    write("one");
    write("two");
    let sidecar = setup.start().await;
    has(&["one", "two"]).await;
    fs::rename(&path, &rotated).unwrap();
    write("three");
    has(&["one", "two", "three"]).await;
    sidecar.is_level().await;
    sidecar.kill().await;
    write("four");
    fs::rename(&path, &rotated).unwrap();
    write("five");
    let sidecar = setup.start().await;
    has(&["one", "two", "three", "four", "five"]).await;
    sidecar.is_level().await;
}

/// Without a settings file everything is in the environment.
#[tokio::test]
async fn settings_from_the_environment_alone() {
    let elastic = Server::start().await;
    let setup = Setup::new();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let variables = [
        ("SERVICE", "orchestrator".to_owned()),
        ("STATE_DIR", text(&setup.state_dir())),
        ("POD_DIR", text(&setup.pod.directory)),
        ("SPANS_LISTEN", setup.spans.to_string()),
        ("ADMIN_LISTEN", setup.admin.to_string()),
        ("WAIT", "200ms".to_owned()),
        ("ELASTIC_URL", format!("http://{}", elastic.address)),
    ];
    let setup = variables.iter().fold(setup, |setup, (name, value)| {
        setup.variable(&format!("EMCO_OBSERVER_{name}"), value)
    });
    let mut service = setup.service();
    service.logrus("found without a file");
    let sidecar = setup.spawn_with(&["run"]);
    elastic.store.has_exactly(&service.written).await;
    assert!(sidecar.terminate().await.success());
}
