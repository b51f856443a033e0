use super::slot::EXTENTS_MAX;
use super::*;
use crate::rejoin;
use proptest::prelude::*;

/// What a sink saw, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    extents: Vec<(u32, Extent)>,
    text: String,
    stream: Stream,
    partial: bool,
    split: bool,
}

const NOW: UnixNanos = UnixNanos(1_000);
const CRI: &str = "2026-11-23T04:09:37.672424268Z";

fn seen(framed: &Framed<'_>) -> Seen {
    Seen {
        extents: framed.extents.to_vec(),
        text: String::from_utf8_lossy(framed.text).into_owned(),
        stream: framed.stream,
        partial: framed.partial,
        split: framed.split,
    }
}

/// Feeds the files in chunks of these sizes (the last size repeats) and ends them.
fn frame(settings: FramerSettings, files: &[Vec<u8>], sizes: &[usize]) -> Vec<Seen> {
    let mut framer = Framer::new(settings);
    let mut records = Vec::new();
    let mut buffer = Vec::new();
    let mut sizes = sizes
        .iter()
        .chain(std::iter::repeat(sizes.last().unwrap_or(&64)));
    let mut sink = |framed: Framed<'_>| {
        let runs: Vec<&[u8]> = framed
            .extents
            .iter()
            .map(|(file, run)| {
                let start = usize::try_from(run.offset).unwrap();
                &files[*file as usize][start..start + run.bytes as usize]
            })
            .collect();
        let again = rejoin(
            settings.format,
            framed.time,
            framed.split,
            &runs,
            &mut buffer,
        );
        assert_eq!(
            String::from_utf8_lossy(again),
            String::from_utf8_lossy(framed.text),
            "re-reading gives another text for {framed:?}"
        );
        records.push(seen(&framed));
    };
    for (file, bytes) in (0..).zip(files) {
        let mut at = 0;
        while at < bytes.len() {
            let size = (*sizes.next().unwrap()).clamp(1, bytes.len() - at);
            framer.push(file, at as u64, &bytes[at..at + size], NOW, &mut sink);
            at += size;
        }
        framer.end_of_file(file, NOW, &mut sink);
    }
    framer.end_of_container(NOW, &mut sink);
    assert_eq!(framer.next_deadline(), None, "something is still held");
    records
}

fn texts(records: &[Seen]) -> Vec<&str> {
    records.iter().map(|record| &*record.text).collect()
}

fn cri(lines: &[(&str, &str)]) -> Vec<u8> {
    let line = |(tag, text): &(&str, &str)| format!("{CRI} {tag} {text}\n");
    lines
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .concat()
        .into_bytes()
}

#[test]
fn pieces_are_joined_per_stream_and_across_files() {
    let files = [
        cri(&[
            ("stderr P", "one "),
            ("stdout F", "other"),
            ("stderr P", "two "),
        ]),
        cri(&[("stderr F", "three"), ("stderr F", "next")]),
    ];
    let records = frame(FramerSettings::default(), &files, &[7]);
    assert_eq!(texts(&records), ["other", "one two three", "next"]);
    assert_eq!(records[1].extents.len(), 3);
    assert!(
        records
            .iter()
            .all(|record| !record.partial && !record.split)
    );
}

#[test]
fn a_piece_without_an_end_stands_alone_after_a_while() {
    let mut framer = Framer::new(FramerSettings::default());
    let mut records = Vec::new();
    let file = cri(&[("stderr P", "begin")]);
    let mut sink = |framed: Framed<'_>| records.push(seen(&framed));
    framer.push(0, 0, &file, NOW, &mut sink);
    let deadline = framer.next_deadline().unwrap();
    assert_eq!(deadline, NOW.plus(5_000_000_000));
    framer.flush_idle(deadline.minus(1), &mut sink);
    framer.flush_idle(deadline, &mut sink);
    framer.push(
        0,
        file.len() as u64,
        &cri(&[("stderr F", "end")]),
        deadline,
        &mut sink,
    );
    assert_eq!(texts(&records), ["begin", "end"]);
    assert!(records[0].partial && !records[1].partial);
}

#[test]
fn a_line_that_never_ends_is_shown_and_its_rest_is_not_lost() {
    let settings = FramerSettings {
        format: Format::Plain(Stream::Stdout),
        ..FramerSettings::default()
    };
    let mut framer = Framer::new(settings);
    let mut records = Vec::new();
    let mut sink = |framed: Framed<'_>| records.push(seen(&framed));
    framer.push(0, 0, b"login: ", NOW, &mut sink);
    let later = framer.next_deadline().unwrap();
    framer.flush_idle(later, &mut sink);
    framer.push(0, 7, b"root\nnext\n", later, &mut sink);
    assert_eq!(texts(&records), ["login: ", "root", "next"]);
    assert!(records[0].partial && records[0].split && records[1].split);
    assert_eq!(
        records[1].extents,
        [(
            0,
            Extent {
                offset: 7,
                bytes: 5
            }
        )]
    );
}

#[test]
fn a_dump_is_one_record_whatever_the_other_stream_says() {
    let file = cri(&[
        ("stderr F", "{\"level\":\"info\"}"),
        ("stderr F", "panic: boom"),
        ("stderr F", ""),
        ("stdout F", "access"),
        ("stderr F", "goroutine 1 [running]:"),
        ("stderr F", "main.main()"),
        ("stderr F", "\t/src/main.go:1 +0x1"),
        ("stderr F", "{\"level\":\"warning\"}"),
        ("stderr F", "exit status 2"),
    ]);
    let records = frame(FramerSettings::default(), &[file], &[1000]);
    let dump =
        "panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:1 +0x1\nexit status 2";
    assert_eq!(
        texts(&records),
        [
            "{\"level\":\"info\"}",
            "access",
            "{\"level\":\"warning\"}",
            dump
        ]
    );
}

#[test]
fn an_open_dump_waits_a_second() {
    let mut framer = Framer::new(FramerSettings::default());
    let mut count = 0;
    framer.push(0, 0, &cri(&[("stderr F", "panic: boom")]), NOW, &mut |_| {
        count += 1;
    });
    let deadline = framer.next_deadline().unwrap();
    assert_eq!(deadline, NOW.plus(1_000_000_000));
    framer.flush_idle(deadline, &mut |_| count += 1);
    assert_eq!((count, framer.next_deadline()), (1, None));
}

#[test]
fn a_line_of_100_mb_needs_no_more_memory_than_a_record() {
    let mut framer = Framer::new(FramerSettings::default());
    let chunk = vec![b'x'; 1 << 20];
    let (mut bytes, mut longest, mut at) = (0, 0, 0);
    let mut sink = |framed: Framed<'_>| {
        assert!(framed.split);
        longest = longest.max(framed.text.len());
        bytes += framed
            .extents
            .iter()
            .map(|(_, run)| u64::from(run.bytes))
            .sum::<u64>();
    };
    let header = format!("{CRI} stderr F ");
    for part in [header.as_bytes()]
        .into_iter()
        .chain(std::iter::repeat_n(&chunk[..], 100))
        .chain([&b"\n"[..]])
    {
        framer.push(0, at, part, NOW, &mut sink);
        at += part.len() as u64;
        let held: usize = framer
            .slots
            .iter()
            .map(|slot| slot.pieces.text.capacity())
            .sum();
        assert!(held <= 4 << 20, "{held} bytes held");
    }
    assert_eq!((bytes, longest), (at, 1 << 20));
}

#[test]
fn endless_empty_pieces_are_cut_too() {
    let one = cri(&[("stderr P", ""), ("stdout F", "x")]);
    let file = one.repeat(3 * EXTENTS_MAX);
    let records = frame(FramerSettings::default(), &[file], &[1 << 16]);
    assert!(
        records
            .iter()
            .all(|record| record.extents.len() <= EXTENTS_MAX)
    );
}

#[test]
fn the_last_extent_goes_on_whatever_the_chunks() {
    let mut file = Vec::new();
    for _ in 1..EXTENTS_MAX {
        file.extend(cri(&[("stderr P", "x"), ("stdout F", "y")]));
    }
    file.extend(cri(&[("stderr P", "a long one"), ("stdout F", "y")]));
    file.extend(cri(&[("stderr F", "the next")]));
    let whole = frame(
        FramerSettings::default(),
        std::slice::from_ref(&file),
        &[usize::MAX],
    );
    let cut = whole.iter().find(|record| record.split).unwrap();
    assert_eq!(cut.extents.len(), EXTENTS_MAX);
    for size in [1, 7, 64] {
        let records = frame(
            FramerSettings::default(),
            std::slice::from_ref(&file),
            &[size],
        );
        assert!(records == whole, "chunks of {size} bytes make a difference");
    }
}

#[test]
fn the_header_of_what_is_cut_off_stands_with_its_text() {
    let settings = FramerSettings {
        record_bytes_max: 1024,
        ..FramerSettings::default()
    };
    let file = cri(&[("stderr P", &"x".repeat(1024)), ("stderr F", "y")]);
    let whole = frame(settings, std::slice::from_ref(&file), &[usize::MAX]);
    assert_eq!(texts(&whole), ["x".repeat(1024).as_str(), "y"]);
    for size in [1, 7, 1000] {
        assert_eq!(frame(settings, std::slice::from_ref(&file), &[size]), whole);
    }
}

#[test]
fn a_cut_never_parts_a_character() {
    let settings = FramerSettings {
        record_bytes_max: 1024,
        ..FramerSettings::default()
    };
    let file = cri(&[("stderr F", &"x€".repeat(2000))]);
    for size in [1, 7, 1000, 100_000] {
        let records = frame(settings, std::slice::from_ref(&file), &[size]);
        assert!(records.len() > 5 && records.iter().all(|record| record.split));
        let whole: String = texts(&records).concat();
        assert_eq!(whole, "x€".repeat(2000));
    }
}

#[test]
fn lines_that_are_not_in_the_format_are_kept_as_they_are() {
    let files = [b"no header\n\n2026 but no time\n2026-11-23T04:09:37Z stderr F".to_vec()];
    for size in [1, 3, 1000] {
        let records = frame(FramerSettings::default(), &files, &[size]);
        assert_eq!(texts(&records), ["no header", "", "2026 but no time", ""]);
    }
}

/// Physical lines as runtimes and programs write them, and as nobody should.
fn line() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        4 => "[a-z{\"é ]{0,40}",
        1 => Just("panic: boom".to_owned()),
        1 => Just("goroutine 7 [running]:".to_owned()),
        1 => Just("main.main()".to_owned()),
        1 => Just("\t/src/main.go:12 +0x1f".to_owned()),
        1 => Just(String::new()),
        1 => Just("{\"level\":\"info\"}".to_owned()),
        1 => Just("2026/11/23 04:09:37 http: panic serving 10.0.0.1:1: boom".to_owned()),
        1 => (900_usize..2500).prop_map(|length| "y€".repeat(length / 2)),
    ];
    let head = prop_oneof![
        3 => Just(format!("{CRI} stderr F ")),
        2 => Just(format!("{CRI} stderr P ")),
        2 => Just(format!("{CRI} stdout F ")),
        1 => Just(format!("{CRI} stdout P ")),
        1 => Just(String::new()),
    ];
    (head, text).prop_map(|(head, text)| head + &text)
}

fn files() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let file = (prop::collection::vec(line(), 0..12), any::<bool>()).prop_map(|(lines, ended)| {
        let mut file = lines.join("\n");
        if ended && !file.is_empty() {
            file.push('\n');
        }
        file.into_bytes()
    });
    prop::collection::vec(file, 1..4)
}

proptest! {
    /// Every byte is in exactly one record, the records do not depend on the chunks, and re-reading
    /// the extents gives the same text (checked in `frame`).
    #[test]
    fn nothing_is_lost_doubled_or_changed_by_chunks(
        files in files(),
        sizes in prop::collection::vec(1_usize..200, 1..20),
        plain in any::<bool>(),
    ) {
        let settings = FramerSettings {
            format: if plain { Format::Plain(Stream::Stdout) } else { Format::Cri },
            record_bytes_max: 1024,
            ..FramerSettings::default()
        };
        let whole = frame(settings, &files, &[usize::MAX]);
        let mut runs: Vec<(u32, u64, u64)> = whole
            .iter()
            .flat_map(|record| &record.extents)
            .map(|(file, run)| (*file, run.offset, run.end()))
            .collect();
        runs.sort_unstable();
        let mut expected: Vec<(u32, u64)> = (0..).zip(files.iter().map(|_| 0)).collect();
        for (file, start, end) in runs {
            prop_assert_eq!(expected[file as usize].1, start, "a gap or an overlap in file {}", file);
            expected[file as usize].1 = end;
        }
        for (file, bytes) in files.iter().enumerate() {
            prop_assert_eq!(expected[file].1, bytes.len() as u64, "the end of file {} is missing", file);
        }
        prop_assert!(whole.iter().all(|record| record.text.len() <= 1024 + 3));
        prop_assert_eq!(frame(settings, &files, &sizes), whole);
    }
}
