//! The state file that says which content of a plain file is which.

use futures_util::FutureExt as _;
use in_tail::{Event, Metrics, PlainSettings, Resume, Settings, Tailer};

use crate::folder;
use crate::input::Input;
use crate::targets::runtime;

/// What the file may hold; a line that has not ended may wait.
const LOGS: [&[u8]; 3] = [b"start\n", b"start\nmore\n", b"other\n"];
/// A round is one thing that happened, or a moment in which nothing did.
const ROUNDS_MAX: usize = 200;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let log = input.one_of(&LOGS);
    let folder = folder::new();
    let (path, state) = (folder.path().join("app.log"), folder.path().join("state"));
    let text = String::from_utf8_lossy(input.rest()).replace('@', &path.to_string_lossy());
    std::fs::write(&state, text).unwrap();
    std::fs::write(&path, log).unwrap();
    let settings = Settings {
        files: vec![PlainSettings {
            path,
            ..PlainSettings::default()
        }],
        state: Some(state),
        ..Settings::default()
    };
    assert_eq!(runtime::run(async { follow(settings) }), log);
}

/// What the tailer hands out until it has nothing more.
fn follow(settings: Settings) -> Vec<u8> {
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    let mut tailer = Tailer::open(settings, |_| Resume { from: 0 }, metrics).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..ROUNDS_MAX {
        match tailer.next().now_or_never() {
            Some(Event::Chunk(chunk)) => {
                assert_eq!(chunk.offset, bytes.len() as u64, "in order, once");
                bytes.extend_from_slice(chunk.bytes);
            }
            Some(Event::Idle) => return bytes,
            Some(_) | None => {}
        }
    }
    panic!("the tailer comes to no end");
}
