//! From an entry of the verdict log to a document: the text is still at hand, or read from its file
//! again.

use std::sync::Arc;

use decode::{Decoder, Format};
use in_tail::{FileSet, ReadError};
use model::document::{Body, Constants, Document};
use model::ids::DocumentId;
use model::line::{Extent, Stream};
use model::record::Record;
use pipeline::{
    Documents, Entry, FileEntry, FileIndex, LineEntry, LogHandle, Lost, Part, Recent, RequestEntry,
};

use crate::origin::Origins;

const SOURCE_GONE: Lost = Lost {
    label: "source_gone",
};
const SOURCE_UNREADABLE: Lost = Lost {
    label: "source_unreadable",
};
/// Buffers that grew beyond this for one long record are given back at the next pause.
const KEEP_BYTES: usize = 64 << 10;

/// Makes the documents of one lane.
pub struct FileDocuments {
    log: LogHandle,
    files: Arc<FileSet>,
    origins: Origins,
    recent: Recent,
    zone_offset_seconds: i32,
    decoder: Decoder,
    record: Record,
    raw: Vec<u8>,
    joined: Vec<u8>,
    /// The file of the last entry: neighbours are nearly always of the same.
    last: Option<(FileIndex, Arc<FileEntry>, Arc<Constants>)>,
    /// Lines that were lost with their file, and were not told of yet.
    lost: Option<(FileIndex, u64)>,
}

impl FileDocuments {
    /// For the lane that reads `log`; text that is not in `recent` is read from `files`.
    pub fn new(
        log: LogHandle,
        files: Arc<FileSet>,
        origins: Origins,
        recent: Recent,
        zone_offset_seconds: i32,
    ) -> Self {
        Self {
            log,
            files,
            origins,
            recent,
            zone_offset_seconds,
            decoder: Decoder::default(),
            record: Record::default(),
            raw: Vec::new(),
            joined: Vec::new(),
            last: None,
            lost: None,
        }
    }

    fn file(&mut self, index: FileIndex) -> Result<(Arc<FileEntry>, Arc<Constants>), Lost> {
        match &self.last {
            Some((last, file, constants)) if *last == index => {
                Ok((Arc::clone(file), Arc::clone(constants)))
            }
            _ => {
                let file = self.log.file(index).ok_or(SOURCE_GONE)?;
                let constants = self.origins.of(&file.container, file.restart);
                self.last = Some((index, Arc::clone(&file), Arc::clone(&constants)));
                Ok((file, constants))
            }
        }
    }

    fn read(&mut self, part: Part) -> Result<std::ops::Range<usize>, Lost> {
        let (file, _) = self.file(part.file)?;
        let start = self.raw.len();
        let Extent { offset, bytes } = part.extent;
        match self
            .files
            .read(file.key, Extent { offset, bytes }, &mut self.raw)
        {
            Ok(()) => Ok(start..self.raw.len()),
            Err(ReadError::Gone { .. }) => Err(SOURCE_GONE),
            Err(error @ ReadError::Io { .. }) => {
                tracing::error!(path = %file.path, %error, "log file cannot be read again");
                Err(SOURCE_UNREADABLE)
            }
        }
    }

    fn line(&mut self, line: &LineEntry, with: &mut dyn FnMut(&Document<'_>)) -> Result<(), Lost> {
        let (file, constants) = self.file(line.first.file)?;
        let offset = line.first.extent.offset;
        let mut show = |record: &Record, text: &[u8]| {
            with(&Document {
                id: DocumentId::Line(file.key, offset),
                home: line.home,
                time: record.time,
                sequence: offset,
                body: Body::Line(record, text),
                verdict: &line.verdict,
                constants: &constants,
            });
        };
        let recent = &self.recent;
        if recent.take(line.first.file, offset, &mut show) {
            return Ok(());
        }
        let (record, text) = self.read_again(line, &file)?;
        show(record, text);
        Ok(())
    }

    /// Reads and decodes a line that is not at hand any more.
    fn read_again(&mut self, line: &LineEntry, file: &FileEntry) -> Result<(&Record, &[u8]), Lost> {
        self.raw.clear();
        let first = self.read(line.first)?;
        let rest: Vec<_> = line
            .rest
            .iter()
            .map(|part| self.read(*part))
            .collect::<Result<_, _>>()?;
        let format = match file.path.as_str() {
            path if is_cri(path) => Format::Cri,
            _ => Format::Plain(Stream::Stdout),
        };
        let mut parts: Vec<&[u8]> = Vec::with_capacity(1 + rest.len());
        for range in std::iter::once(first).chain(rest) {
            parts.push(self.raw.get(range).unwrap_or_default());
        }
        let text = decode::rejoin(format, line.time, line.split, &parts, &mut self.joined);
        self.decoder.decode(
            text,
            line.time,
            line.stream,
            self.zone_offset_seconds,
            &mut self.record,
        );
        Ok((&self.record, text))
    }

    /// Notes that a line was lost with its file.
    fn lose(&mut self, file: FileIndex) {
        match &mut self.lost {
            Some((known, lines)) if *known == file => *lines += 1,
            _ => {
                self.tell_lost();
                self.lost = Some((file, 1));
            }
        }
    }

    /// Tells of the lines that were lost: once for those of one file that come one after another.
    fn tell_lost(&mut self) {
        let Some((file, lines)) = self.lost.take() else {
            return;
        };
        let file = self.log.file(file);
        let (container, path) = file.as_ref().map_or(("", ""), |file| {
            (file.container.as_str(), file.path.as_str())
        });
        tracing::error!(
            lines,
            container,
            path,
            "lines are lost: their log file was gone before they were delivered"
        );
    }

    fn request(&self, request: &RequestEntry, with: &mut dyn FnMut(&Document<'_>)) {
        let constants = self.origins.of(&request.container, 0);
        with(&Document {
            id: request.id,
            home: request.home,
            time: request.time,
            sequence: 0,
            body: Body::Request(&request.summary),
            verdict: &request.verdict,
            constants: &constants,
        });
    }
}

/// Plain files are registered under their own path with this mark in front.
pub(crate) const PLAIN: &str = "plain:";

fn is_cri(path: &str) -> bool {
    !path.starts_with(PLAIN)
}

impl Documents for FileDocuments {
    fn document(
        &mut self,
        entry: Entry<'_>,
        with: &mut dyn FnMut(&Document<'_>),
    ) -> Result<(), Lost> {
        match entry {
            Entry::Line(line) => {
                let shown = self.line(line, with);
                if shown == Err(SOURCE_GONE) {
                    self.lose(line.first.file);
                }
                shown
            }
            Entry::Request(request) => {
                self.request(request, with);
                Ok(())
            }
        }
    }

    fn idle(&mut self) {
        self.tell_lost();
        self.raw = Vec::new();
        self.joined = Vec::new();
        self.record.scratch.shrink_to(KEEP_BYTES);
        self.recent.shrink();
    }
}
