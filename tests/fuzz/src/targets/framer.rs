//! Container log files into records.

use decode::{Format, Framed, Framer, FramerSettings, rejoin};
use model::line::{Extent, Stream};
use model::time::UnixNanos;

use crate::input::{Input, parts};

const NOW: UnixNanos = UnixNanos(1_000);

/// What a sink saw, owned.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    extents: Vec<(u32, Extent)>,
    text: Vec<u8>,
    time: UnixNanos,
    stream: Stream,
    partial: bool,
    split: bool,
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let settings = FramerSettings {
        format: input.one_of(&[
            Format::Cri,
            Format::Cri,
            Format::Plain(Stream::Stdout),
            Format::Plain(Stream::Stderr),
        ]),
        record_bytes_max: 1024 + 4 * usize::from(input.byte()),
        ..FramerSettings::default()
    };
    let size = usize::from(input.byte()) + 1;
    let files: Vec<&[u8]> = parts(input.rest()).take(4).collect();
    let whole = frame(settings, &files, usize::MAX);
    assert_all_there(&whole, &files);
    assert_eq!(
        frame(settings, &files, size),
        whole,
        "chunks of {size} bytes make a difference"
    );
}

/// Feeds the files in chunks of this size and ends them.
fn frame(settings: FramerSettings, files: &[&[u8]], size: usize) -> Vec<Seen> {
    let mut framer = Framer::new(settings);
    let mut records = Vec::new();
    let mut buffer = Vec::new();
    let mut sink = |framed: Framed<'_>| {
        let runs: Vec<&[u8]> = framed
            .extents
            .iter()
            .map(|(file, run)| bytes(files[*file as usize], *run))
            .collect();
        let again = rejoin(
            settings.format,
            framed.time,
            framed.split,
            &runs,
            &mut buffer,
        );
        assert_eq!(
            again, framed.text,
            "re-reading gives another text for {framed:?}"
        );
        records.push(Seen {
            extents: framed.extents.to_vec(),
            text: framed.text.to_vec(),
            time: framed.time,
            stream: framed.stream,
            partial: framed.partial,
            split: framed.split,
        });
    };
    for (file, content) in (0..).zip(files) {
        let mut at = 0;
        for chunk in content.chunks(size) {
            framer.push(file, at, chunk, NOW, &mut sink);
            at += chunk.len() as u64;
        }
        framer.end_of_file(file, NOW, &mut sink);
    }
    framer.end_of_container(NOW, &mut sink);
    assert_eq!(framer.next_deadline(), None, "something is still held");
    records
}

/// Every byte of every file is in exactly one record.
fn assert_all_there(records: &[Seen], files: &[&[u8]]) {
    let mut extents: Vec<_> = records.iter().flat_map(|seen| &seen.extents).collect();
    extents.sort_unstable_by_key(|(file, run)| (*file, run.offset));
    for (file, content) in (0..).zip(files) {
        let mut at = 0;
        for (_, run) in extents.iter().filter(|extent| extent.0 == file) {
            assert_eq!(run.offset, at, "file {file}");
            at = run.end();
        }
        assert_eq!(at, content.len() as u64, "file {file}");
    }
}

fn bytes(file: &[u8], run: Extent) -> &[u8] {
    let start = usize::try_from(run.offset).unwrap();
    &file[start..start + run.bytes as usize]
}
