//! What holds for every recording, whatever its seed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use twox_hash::XxHash3_64;

use super::recording::{How, Recording, SERVICES};
use super::*;

const SEEDS: [u64; 4] = [1, 2, 3, 99];

fn made(seed: u64) -> Recording {
    world::play(Plan {
        seed,
        requests: 150,
        users: 4,
    })
}

/// Name and digest of every file.
fn files(dir: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for folder in [dir.to_owned(), dir.join("spans"), dir.join("access")] {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                let name = entry
                    .path()
                    .strip_prefix(dir)
                    .unwrap()
                    .display()
                    .to_string();
                found.insert(name, XxHash3_64::oneshot(&bytes));
            }
        }
    }
    found
}

fn write(dir: &Path, seed: u64) -> BTreeMap<String, u64> {
    generate(&Args {
        seed,
        out: dir.to_owned(),
        requests: 40,
        users: 3,
    })
    .unwrap();
    files(dir)
}

#[test]
fn a_seed_makes_the_same_bytes_and_another_seed_others() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, seed| write(&dir.path().join(name), seed);
    let first = make("first", 11);
    assert_eq!(first, make("again", 11));
    assert_ne!(first, make("other", 12));
    for name in [
        "orchestrator.cri.log.gz",
        "rsync.truth.jsonl.gz",
        "spans/headers.jsonl.gz",
        "access/istio-ingressgateway.jsonl.gz",
        "client.jsonl.gz",
        "rootspans.truth.jsonl.gz",
        "stats.json",
    ] {
        assert!(first.contains_key(name), "{name} is missing");
    }
}

#[test]
fn a_handler_prints_inside_its_span_and_not_while_it_waits() {
    for seed in SEEDS {
        let recording = made(seed);
        for (service, lines) in &recording.lines {
            let spans = &recording.spans[service];
            for line in lines
                .iter()
                .filter(|line| !line.is_stdout && line.how == How::Http)
            {
                let trace = &line.origin.as_ref().unwrap().trace;
                let covers = |span: &recording::Span| {
                    let end_ns = (span.timestamp + span.duration) * 1000;
                    (span.timestamp * 1000..=end_ns).contains(&line.at_ns)
                };
                let own = spans.iter().filter(|span| span.trace == *trace);
                let (mut inside, mut waiting) = (0, 0);
                for span in own.filter(|span| covers(span)) {
                    inside += u32::from(span.kind.is_none());
                    waiting += u32::from(span.kind == Some("CLIENT"));
                }
                assert_eq!((inside, waiting), (1, 0), "seed {seed}: {}", line.text);
            }
        }
    }
}

#[test]
fn nothing_is_printed_before_its_cause() {
    for seed in SEEDS {
        let recording = made(seed);
        let mut starts = BTreeMap::new();
        for call in &recording.calls {
            starts.insert(call.request_id.replacen("-9", "-4", 3), call.start_ns);
        }
        for line in recording.lines.values().flatten() {
            let request_id = line
                .origin
                .as_ref()
                .and_then(|origin| origin.request_id.clone());
            if let Some(start) = request_id.and_then(|id| starts.get(&id.replacen("-9", "-4", 3))) {
                assert!(*start < line.at_ns, "seed {seed}: {}", line.text);
            }
        }
    }
}

#[test]
fn ids_are_unique_and_every_line_speaks_from_a_known_site() {
    let sites: HashSet<String> = sites::ALL
        .iter()
        .map(|site| format!("file[{}:{}] func[{}]", site.file, site.line, site.function))
        .collect();
    assert_eq!(sites.len(), sites::ALL.len());
    for seed in SEEDS {
        let recording = made(seed);
        let mut ids = HashSet::new();
        for span in recording.spans.values().flatten() {
            assert!(
                ids.insert(span.id.clone()),
                "seed {seed}: {} twice",
                span.id
            );
        }
        for line in recording
            .lines
            .values()
            .flatten()
            .filter(|line| line.text.starts_with('{'))
        {
            let members: serde_json::Value = serde_json::from_str(&line.text).unwrap();
            assert!(
                sites.contains(members["SOURCE"].as_str().unwrap()),
                "{}",
                line.text
            );
        }
    }
}

#[test]
fn people_share_objects_and_work_crosses_services() {
    for seed in SEEDS {
        let recording = made(seed);
        let mut people: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for call in recording
            .calls
            .iter()
            .filter(|call| call.op.starts_with("dig."))
        {
            people
                .entry(call.path.chars().take(24).collect())
                .or_default()
                .insert(&call.user);
        }
        assert!(
            people.values().any(|users| users.len() > 1),
            "seed {seed}: {people:?}"
        );
        let hows: BTreeSet<How> = recording.lines["rsync"]
            .iter()
            .map(|line| line.how)
            .collect();
        assert!(
            hows.is_superset(&[How::Grpc, How::Event, How::Status].into()),
            "seed {seed}: {hows:?}"
        );
        assert!(
            recording.lines["dcm"]
                .iter()
                .filter(|line| line.how == How::Background)
                .count()
                > 20
        );
        assert!(
            recording.calls.iter().any(|call| call.via != "gateway"),
            "seed {seed}: nobody in the mesh"
        );
        assert!(
            SERVICES
                .iter()
                .all(|service| !recording.lines[service].is_empty())
        );
    }
}

#[test]
fn the_smallest_recording_is_one() {
    let recording = world::play(Plan {
        seed: 1,
        requests: 1,
        users: 1,
    });
    assert_eq!(recording.calls.len(), 1);
}
