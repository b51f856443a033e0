//! Foreign letters whose checksums are right.

use pipeline::{DeadLetters, Limits};
use spool::{QueueMetrics, Spool};

use crate::folder;
use crate::input::parts;

pub(crate) fn run(data: &[u8]) {
    let folder = folder::new();
    let limits = Limits::default();
    let letters: Vec<&[u8]> = parts(data).take(8).collect();
    {
        let (queue, _) = Spool::open(folder.path(), limits, QueueMetrics::default()).unwrap();
        for (at, letter) in (1..).zip(&letters) {
            queue.append(1, at, letter).unwrap();
        }
    }
    let kept = DeadLetters::open(folder.path(), limits, QueueMetrics::default()).unwrap();
    let mut reader = kept.reader();
    for (at, letter) in (1..).zip(&letters) {
        let stored = reader.next().unwrap().expect("each letter is shown");
        assert_eq!(stored.at.0, at);
        assert!(letter.ends_with(stored.item), "the item is as it was kept");
        if stored.label == "unreadable" && stored.id.is_empty() {
            continue;
        }
        let texts = [stored.id, stored.label, stored.reason];
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        assert!(letter.len() > bytes + stored.item.len());
    }
    assert_eq!(reader.next().unwrap(), None);
}
