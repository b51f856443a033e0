use super::{Event, Log, emco_body, emco_span};
use crate::error::Error;
use crate::journal::{Journal, KIND_GAP, KIND_SPANS, Replayed, encode_gap, replay, replay_record};
use crate::scan::SpanScratch;
use crate::splitter::Splitter;
use model::time::UnixNanos;

fn record(body: &str) -> Vec<u8> {
    let mut splitter = Splitter::new();
    splitter.push(body.as_bytes());
    splitter
        .next_piece(true)
        .unwrap()
        .unwrap()
        .record()
        .to_vec()
}

#[test]
fn a_record_holds_the_spans_as_they_came() {
    let body = emco_body(0..2);
    let expected = format!("\u{1}{}", &body[1..body.len() - 1]);
    assert_eq!(record(&body), expected.as_bytes());
}

#[test]
fn what_was_kept_comes_back_from_a_spool() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        spool::Spool::open(
            directory.path(),
            spool::Limits::default(),
            spool::QueueMetrics::default(),
        )
        .unwrap()
        .0
    };
    let mut kept = open();
    for (kind, payload) in [
        (KIND_SPANS, record(&emco_body(0..3))),
        (200, b"somebody else's".to_vec()),
        (KIND_GAP, encode_gap(UnixNanos(1), UnixNanos(2)).to_vec()),
        (KIND_SPANS, vec![9, 9, 9]),
        (KIND_SPANS, record(&emco_body(3..4))),
    ] {
        Journal::append(&mut kept, kind, UnixNanos(5), &payload).unwrap();
    }
    drop(kept);
    let reopened = open();
    let mut log = Log::default();
    let spans = replay(&mut reopened.reader(reopened.first()), &mut log).unwrap();
    assert_eq!(spans, 4);
    let piece = |spans: usize| [vec!["span"; spans], vec!["end of piece"]].concat();
    // The record of an unknown version is a gap too.
    assert_eq!(
        log.kinds(),
        [piece(3), vec!["gap", "gap"], piece(1)].concat()
    );
}

#[test]
fn damaged_and_unknown_records_are_refused() {
    let mut log = Log::default();
    let mut scratch = SpanScratch::default();
    let mut replay = |kind, payload: &[u8]| replay_record(kind, payload, &mut log, &mut scratch);
    assert!(matches!(
        replay(7, &[1]),
        Err(Error::Record {
            kind: 7,
            version: 1
        })
    ));
    assert!(matches!(
        replay(KIND_SPANS, &[2, b'{', b'}']),
        Err(Error::Record { version: 2, .. })
    ));
    assert!(matches!(
        replay(KIND_SPANS, &[]),
        Err(Error::Record { version: 0, .. })
    ));
    assert!(matches!(replay(KIND_GAP, &[1, 0]), Err(Error::Damaged(_))));
    let cut = format!("\u{1}{},{{\"id\":", emco_span(1));
    assert!(matches!(
        replay(KIND_SPANS, cut.as_bytes()),
        Err(Error::Damaged(_))
    ));
    let whole = format!("\u{1}{}", emco_span(2));
    assert_eq!(
        replay(KIND_SPANS, whole.as_bytes()).unwrap(),
        Replayed::Spans(1)
    );
    assert_eq!(
        log.spans().len(),
        2,
        "whole spans in front of damage are shown"
    );
    assert_eq!(log.events.lock().unwrap().last(), Some(&Event::EndOfPiece));
}

#[test]
fn a_full_spool_is_full_and_not_broken() {
    let directory = tempfile::tempdir().unwrap();
    let limits = spool::Limits {
        bytes_max: 64 << 10,
        segment_bytes: 16 << 10,
    };
    let (mut kept, _) =
        spool::Spool::open(directory.path(), limits, spool::QueueMetrics::default()).unwrap();
    let payload = record(&emco_body(0..10));
    let error = (0..100)
        .find_map(|at| Journal::append(&mut kept, KIND_SPANS, UnixNanos(at), &payload).err())
        .unwrap();
    assert!(matches!(error, crate::JournalError::Full), "{error}");
}
