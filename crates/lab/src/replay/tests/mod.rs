//! Whole replays of small recordings, judged by what they left behind.

use std::collections::HashMap;
use std::io::{BufReader, Read as _, Write as _};
use std::path::Path;
use std::sync::Mutex;

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use testkit::manifest::{Expected, How, Kind, digest};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use twox_hash::XxHash3_128;

use super::*;

mod decoded;

/// What a peer was sent: path and body of every request.
type Posted = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A peer that takes everything with 202.
async fn peer() -> (SocketAddr, Posted) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let posted = Posted::default();
    let log = Arc::clone(&posted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&log)));
        }
    });
    (address, posted)
}

async fn answer(stream: TcpStream, posted: Posted) {
    let mut stream = tokio::io::BufReader::new(stream);
    loop {
        let (mut path, mut length, mut line) = (String::new(), 0, String::new());
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let lower = line.trim().to_lowercase();
            if let Some(rest) = lower.strip_prefix("post ") {
                path = rest.split(' ').next().unwrap().to_owned();
            } else if let Some(value) = lower.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if lower.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        posted.lock().unwrap().push((path, body));
        let reply = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(reply).await.unwrap();
    }
}

fn args(corpus: &Path, out: &Path) -> Args {
    Args {
        corpus: corpus.to_owned(),
        out: out.join("pods"),
        hub: None,
        sidecars: Vec::new(),
        speed: 1000.0,
        no_start_records: false,
        services: Vec::new(),
        rotate_bytes: 20_000,
        manifest: Some(out.join("manifest.ndjson")),
        seed: 5,
        start_delay: 0.0,
        namespace: "emco".to_owned(),
        list_pods: false,
    }
}

fn gzip(path: &Path, text: &str) {
    let mut encoder = GzEncoder::new(
        std::fs::File::create(path).unwrap(),
        flate2::Compression::fast(),
    );
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = BufReader::new(std::fs::File::open(path).unwrap());
    if path.extension().is_some_and(|suffix| suffix == "gz") {
        MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    } else {
        file.take(1 << 30).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

fn manifest(out: &Path) -> Expected {
    let file = std::fs::File::open(out.join("manifest.ndjson")).unwrap();
    Expected::read(BufReader::new(file)).unwrap()
}

/// Every physical line that is on disk, by the id that a document beginning with it has.
fn lines_on_disk(expected: &Expected) -> HashMap<String, String> {
    let mut lines = HashMap::new();
    for pod in expected.pods() {
        for container in std::fs::read_dir(&pod.directory)
            .unwrap()
            .map(Result::unwrap)
        {
            for file in std::fs::read_dir(container.path())
                .unwrap()
                .map(Result::unwrap)
            {
                let name = file.file_name().into_string().unwrap();
                let bytes = read(&file.path());
                let text = String::from_utf8(bytes).unwrap();
                let first = text.split_inclusive('\n').next().unwrap_or_default();
                let identity = format!(
                    "{}\0{}\0{}\0{first}",
                    pod.uid,
                    container.file_name().to_str().unwrap(),
                    name.split('.').next().unwrap(),
                );
                let key = XxHash3_128::oneshot(identity.as_bytes());
                let mut offset = 0;
                for line in text.split_inclusive('\n') {
                    lines.insert(format!("{key:032x}-{offset:x}"), line.trim_end().to_owned());
                    offset += line.len();
                }
            }
        }
    }
    lines
}

fn generate(dir: &Path, seed: u64) {
    let plan = crate::generate::Args {
        seed,
        out: dir.to_owned(),
        requests: 60,
        users: 3,
    };
    crate::generate::generate(&plan).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_recording_arrives_everywhere_and_the_manifest_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus");
    generate(&corpus, 3);
    let (address, posted) = peer().await;
    let mut args = args(&corpus, dir.path());
    args.hub = Some(format!("http://{address}"));
    args.sidecars = ["orchestrator", "rsync", "dcm"]
        .map(|name| (name.to_owned(), address))
        .to_vec();
    let tally = play(args, CancellationToken::new()).await.unwrap();

    let expected = manifest(dir.path());
    let disk = lines_on_disk(&expected);
    assert_eq!(
        disk.len(),
        expected.records().len(),
        "one record a line, and no line besides"
    );
    for record in expected.records() {
        let line = &disk[&record.id];
        let text = line.splitn(4, ' ').nth(3).unwrap();
        assert_eq!(digest(text.as_bytes()), record.text_digest, "{line}");
        assert_eq!(
            record.truth.as_ref().unwrap().trace.is_none(),
            record.truth.as_ref().unwrap().is_background()
        );
    }
    assert!(
        expected
            .records()
            .iter()
            .any(|record| record.open_requests > 1)
    );
    let proven = |proven| {
        move |record: &&testkit::manifest::Record| {
            record
                .truth
                .as_ref()
                .is_some_and(|truth| truth.proven == proven && truth.how == How::Http)
        }
    };
    assert!(
        expected
            .records()
            .iter()
            .any(|record| proven(true)(&record))
    );
    assert!(
        expected
            .records()
            .iter()
            .any(|record| proven(false)(&record))
    );

    let summary = expected.summary().unwrap();
    assert!(
        summary.complete && summary.rotations > 0 && summary.bodies_dropped == 0,
        "{summary:?}"
    );
    assert_eq!(
        (summary.bodies_sent, summary.gateway_sent),
        (tally.bodies_sent, tally.gateway_sent)
    );
    let posted = posted.lock().unwrap();
    let bodies = posted
        .iter()
        .filter(|(path, _)| path == "/api/v2/spans")
        .count();
    assert_eq!(bodies as u64, summary.bodies_sent);
    let gateway = read(&corpus.join(provenance::GATEWAY_LOG));
    let records: usize = posted
        .iter()
        .filter(|(path, _)| path == "/v1/access-log")
        .map(|(_, body)| body.split(|byte| *byte == b'\n').count() - 1)
        .sum();
    assert_eq!(
        records,
        2 * (gateway.split(|byte| *byte == b'\n').count() - 1),
        "a start and an end each"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_start_records_access_lines_change_only_in_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus");
    generate(&corpus, 4);
    let mut args = args(&corpus, dir.path());
    args.no_start_records = true;
    args.services = vec!["clm".to_owned()];
    play(args, CancellationToken::new()).await.unwrap();
    let expected = manifest(dir.path());
    let disk = lines_on_disk(&expected);
    let shift = shift::Shift::new(-expected.summary().unwrap().shift_seconds);
    let mut written: Vec<Vec<u8>> = Vec::new();
    for record in expected
        .records()
        .iter()
        .filter(|record| record.kind == Kind::Access)
    {
        let mut text = disk[&record.id]
            .splitn(4, ' ')
            .nth(3)
            .unwrap()
            .as_bytes()
            .to_vec();
        shift.json(&mut text);
        written.push(text);
    }
    let recorded = read(&corpus.join("access/clm.jsonl.gz"));
    let recorded: Vec<&[u8]> = recorded
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    assert!(!recorded.is_empty() && written == recorded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn split_records_and_restarts_keep_their_identity() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    let lines = "2026-11-23T04:09:37.000000001Z stderr P {\"msg\":\"one\n\
                 2026-11-23T04:09:37.000000002Z stdout F between\n\
                 2026-11-23T04:09:37.000000003Z stderr F record\"}\n\
                 2026-11-23T04:09:45.000000001Z stderr F after the restart\n";
    gzip(&corpus.join("clm.cri.log.gz"), lines);
    let timeline = "2026-11-23T04:09:38.000Z clm kill -9\n2026-11-23T04:09:44.000Z clm start\n";
    std::fs::write(corpus.join("timeline.txt"), timeline).unwrap();
    play(args(&corpus, dir.path()), CancellationToken::new())
        .await
        .unwrap();

    let expected = manifest(dir.path());
    let disk = lines_on_disk(&expected);
    let texts: Vec<(&str, u32)> = expected
        .records()
        .iter()
        .map(|record| (record.text.as_str(), record.physical_lines))
        .collect();
    assert_eq!(
        texts,
        [
            ("between", 1),
            ("{\"msg\":\"onerecord\"}", 2),
            ("after the restart", 1)
        ]
    );
    assert_eq!(
        expected.records()[1].message_digest,
        Some(digest(b"onerecord"))
    );
    assert!(
        disk[&expected.records()[1].id].ends_with("P {\"msg\":\"one"),
        "a record is where its first part is"
    );
    let folder = Path::new(&expected.pods()[0].directory).join("clm");
    assert!(read(&folder.join("1.log")).ends_with(b"after the restart\n"));
    assert!(disk.contains_key(&expected.records()[2].id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_meet_no_sidecar_are_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus");
    generate(&corpus, 5);
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let mut args = args(&corpus, dir.path());
    args.sidecars = vec![("clm".to_owned(), closed)];
    let tally = play(args, CancellationToken::new()).await.unwrap();
    assert!(
        tally.bodies_dropped > 0 && tally.bodies_sent == 0,
        "{tally:?}"
    );
    assert_eq!(tally.bodies_dropped_by_service["clm"], tally.bodies_dropped);
}

#[tokio::test]
async fn a_stopped_replay_says_that_it_is_not_complete() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = dir.path().join("corpus");
    generate(&corpus, 6);
    let mut args = args(&corpus, dir.path());
    args.speed = 1.0;
    let stop = CancellationToken::new();
    stop.cancel();
    let tally = play(args, stop).await.unwrap();
    assert!(!tally.complete);
    assert_eq!(manifest(dir.path()).records().len(), 0);
}

#[tokio::test]
async fn bad_input_gets_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let sentence = async |args: Args| {
        let error = play(args, CancellationToken::new()).await.unwrap_err();
        format!("{error:#}")
    };
    let corpus = dir.path().join("corpus");
    let missing = sentence(args(&corpus, dir.path())).await;
    assert!(
        missing.starts_with("reading the recording in "),
        "{missing}"
    );
    std::fs::create_dir(&corpus).unwrap();
    let empty = sentence(args(&corpus, dir.path())).await;
    assert!(
        empty.contains("give the folder of one recording"),
        "{empty}"
    );
    gzip(
        &corpus.join("clm.cri.log.gz"),
        "2026-11-23T04:09:37Z stderr F x\nno framing\n",
    );
    let framing = sentence(args(&corpus, dir.path())).await;
    assert!(framing.contains("no CRI framing: no framing"), "{framing}");
    let again = sentence(args(&corpus, dir.path())).await;
    assert!(again.contains("is there already"), "{again}");
    let mut unknown = args(&corpus, dir.path());
    unknown.services = vec!["nosuch".to_owned()];
    let unknown = sentence(unknown).await;
    assert!(
        unknown.contains("has no service nosuch; it has clm"),
        "{unknown}"
    );
}
