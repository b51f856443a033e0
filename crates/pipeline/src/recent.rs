//! Lines that the head decoded a moment ago: a lane that is level with the head need not read and
//! decode them again.
//!
//! A line stays until every lane has taken it, or until there are too many: then the oldest of the
//! file with most of them goes, and whoever comes for it reads it from its file. So a lane that is
//! behind costs nothing but its own second reading.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::entry::FileIndex;
use model::document::push_short;
use model::record::{Field, Record};

/// Most lines that are kept.
const LINES_MAX: usize = 2_048;
/// Most bytes of them, about.
const BYTES_MAX: usize = 2 << 20;
/// Longer lines are not kept.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Buffers of lines that are gone are used again, at most so many, unless they grew beyond this.
const SPARE_MAX: usize = 1_024;
const SPARE_BYTES: usize = 4 << 10;

/// Lines by where they begin. Clones share them.
#[derive(Clone, Debug)]
pub struct Recent {
    lanes: usize,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    files: Vec<File>,
    lines: usize,
    bytes: usize,
    #[expect(clippy::vec_box, reason = "lines move between collections")]
    spare: Vec<Box<Line>>,
}

/// The lines of one file, in the order of their offsets.
#[derive(Debug)]
struct File {
    index: FileIndex,
    lines: VecDeque<Box<Line>>,
}

#[derive(Debug, Default)]
struct Line {
    offset: u64,
    text: Vec<u8>,
    record: Record,
    bytes: usize,
    /// Lanes that have not come for it yet.
    awaited: usize,
}

impl Recent {
    /// For so many lanes.
    pub fn new(lanes: usize) -> Self {
        Self {
            lanes,
            shared: Arc::default(),
        }
    }

    /// Keeps the line of `file` that begins at `offset`. What it was decoded to is taken out of
    /// `record`, which becomes another one with memory for the next line.
    pub fn keep(&self, file: FileIndex, offset: u64, text: &[u8], record: &mut Record) {
        if self.lanes == 0 || text.len() > LINE_BYTES_MAX {
            return;
        }
        let mut shared = self.lock();
        while shared.lines >= LINES_MAX || shared.bytes >= BYTES_MAX {
            shared.drop_oldest();
        }
        let mut line = shared.spare.pop().unwrap_or_default();
        line.offset = offset;
        line.awaited = self.lanes;
        line.text.clear();
        push_short(&mut line.text, text);
        std::mem::swap(&mut line.record, record);
        line.bytes =
            text.len() + line.record.scratch.len() + line.record.fields.len() * size_of::<Field>();
        shared.add(file, line);
    }

    /// Shows the line of `file` that begins at `offset` to `see`, for one lane; answers whether it was
    /// kept.
    pub fn take(&self, file: FileIndex, offset: u64, see: &mut dyn FnMut(&Record, &[u8])) -> bool {
        self.shown(file, offset, see).is_some()
    }

    fn shown(
        &self,
        file: FileIndex,
        offset: u64,
        see: &mut dyn FnMut(&Record, &[u8]),
    ) -> Option<()> {
        let mut shared = self.lock();
        let lines = &mut shared.file(file)?.lines;
        let place = match lines.front() {
            Some(first) if first.offset == offset => 0,
            _ => lines
                .binary_search_by_key(&offset, |line| line.offset)
                .ok()?,
        };
        let line = lines.get_mut(place)?;
        see(&line.record, &line.text);
        line.awaited = line.awaited.saturating_sub(1);
        if place == 0 {
            shared.drop_taken(file);
        }
        Some(())
    }

    /// Gives back memory that is only of use while lines come fast.
    pub fn shrink(&self) {
        let mut shared = self.lock();
        shared.spare = Vec::new();
        shared.files.retain(|file| !file.lines.is_empty());
        for file in &mut shared.files {
            file.lines.shrink_to_fit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn file(&mut self, index: FileIndex) -> Option<&mut File> {
        self.files.iter_mut().find(|file| file.index == index)
    }

    fn add(&mut self, index: FileIndex, line: Box<Line>) {
        let place = self.files.iter().position(|file| file.index == index);
        let place = place.unwrap_or_else(|| {
            self.files.push(File {
                index,
                lines: VecDeque::new(),
            });
            self.files.len() - 1
        });
        let Some(file) = self.files.get_mut(place) else {
            return;
        };
        if file
            .lines
            .back()
            .is_some_and(|last| last.offset >= line.offset)
        {
            // read once more from further in front: what is kept is not in order any more
            let before = std::mem::take(&mut file.lines);
            self.lines -= before.len();
            self.bytes -= before.iter().map(|line| line.bytes).sum::<usize>();
        }
        self.lines += 1;
        self.bytes += line.bytes;
        file.lines.push_back(line);
    }

    /// Forgets the lines at the front that every lane has taken.
    fn drop_taken(&mut self, index: FileIndex) {
        while let Some(file) = self.file(index)
            && let Some(line) = file.lines.pop_front_if(|line| line.awaited == 0)
        {
            self.gone(line);
        }
    }

    fn drop_oldest(&mut self) {
        let most = self.files.iter_mut().max_by_key(|file| file.lines.len());
        if let Some(line) = most.and_then(|file| file.lines.pop_front()) {
            self.gone(line);
        } else {
            (self.lines, self.bytes) = (0, 0);
        }
    }

    fn gone(&mut self, line: Box<Line>) {
        self.lines -= 1;
        self.bytes -= line.bytes;
        let small = line.text.capacity() + line.record.scratch.capacity() <= SPARE_BYTES;
        if small && self.spare.len() < SPARE_MAX {
            self.spare.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileIndex = FileIndex(3);

    fn keep(recent: &Recent, offset: u64, text: &str) {
        let mut record = Record {
            masked: u32::try_from(offset).unwrap(),
            ..Record::default()
        };
        recent.keep(FILE, offset, text.as_bytes(), &mut record);
    }

    fn take(recent: &Recent, offset: u64) -> Option<String> {
        let mut taken = None;
        recent.take(FILE, offset, &mut |record, text| {
            assert_eq!(u64::from(record.masked), offset);
            taken = Some(String::from_utf8(text.to_vec()).unwrap());
        });
        taken
    }

    fn held(recent: &Recent) -> (usize, usize) {
        let shared = recent.lock();
        (shared.lines, shared.bytes)
    }

    #[test]
    fn a_line_stays_until_every_lane_has_taken_it() {
        let recent = Recent::new(2);
        for offset in [0, 10, 20] {
            keep(&recent, offset, "text");
        }
        for offset in [0, 10, 0, 20, 10] {
            assert_eq!(take(&recent, offset).as_deref(), Some("text"), "{offset}");
        }
        assert_eq!(take(&recent, 0), None);
        assert_eq!(take(&recent, 10), None);
        assert_eq!(take(&recent, 15), None);
        assert_eq!(take(&recent, 20).as_deref(), Some("text"));
        assert_eq!(held(&recent), (0, 0));
        assert!(!recent.take(FileIndex(9), 0, &mut |_, _| ()));
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let recent = Recent::new(1);
        let long = "x".repeat(8 << 10);
        for offset in 0..1_000 {
            keep(&recent, offset, &long);
        }
        assert!(recent.lock().bytes <= BYTES_MAX + LINE_BYTES_MAX);
        assert_eq!(take(&recent, 0), None);
        assert_eq!(take(&recent, 999), Some(long));
        keep(&recent, 1_000, &"x".repeat(LINE_BYTES_MAX + 1));
        assert_eq!(take(&recent, 1_000), None);
    }

    #[test]
    fn a_file_that_is_read_again_from_its_start_is_kept_anew() {
        let recent = Recent::new(1);
        keep(&recent, 50, "old");
        keep(&recent, 0, "new");
        assert_eq!(take(&recent, 50), None);
        assert_eq!(take(&recent, 0).as_deref(), Some("new"));
        assert_eq!(held(&recent), (0, 0));
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let recent = Recent::new(0);
        keep(&recent, 0, "text");
        assert_eq!(take(&recent, 0), None);
    }
}
