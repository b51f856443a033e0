//! A file that was found and is not being read (yet).

use std::io;
use std::path::PathBuf;

use model::ids::FileKey;
use twox_hash::XxHash3_64;

use crate::container::is_old;
use crate::content::{Content, first_line, gzip_size_hint};
use crate::disk::{Disk, Stat};
use crate::engine::Now;
use crate::identity::Prefix;
use crate::listing::Listed;
use crate::names::Order;

/// How much before the read position is compared to recognise a copy.
const MARKER_BYTES_MAX: usize = 256;
/// How much of the beginning and of the end is compared to recognise a copy in the making.
const COMPARED_BYTES_MAX: usize = 1024;

/// The last bytes that were read, as a length and a hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marker {
    bytes: u16,
    hash: u64,
}

impl Marker {
    /// Of the end of `chunk`.
    pub(crate) fn of(chunk: &[u8]) -> Self {
        let tail = chunk.len().saturating_sub(MARKER_BYTES_MAX);
        let tail = chunk.get(tail..).unwrap_or_default();
        Self {
            bytes: u16::try_from(tail.len()).unwrap_or(0),
            hash: XxHash3_64::oneshot(tail),
        }
    }
}

/// See the module.
pub(crate) struct Candidate<D: Disk> {
    pub(crate) path: PathBuf,
    pub(crate) order: Order,
    pub(crate) gzip: bool,
    pub(crate) stat: Stat,
    /// None while the first line is not complete.
    pub(crate) key: Option<FileKey>,
    pub(crate) prefix: Prefix,
    /// How it begins; kept until it has a key.
    pub(crate) head: Vec<u8>,
    /// It was what its container writes when it was first seen.
    pub(crate) was_live: bool,
    /// No name leads to it any more.
    pub(crate) nameless: bool,
    /// Held open while unread, so that it survives its deletion.
    content: Option<Content<D>>,
    /// Uncompressed size modulo 2^32, if compressed.
    gzip_bytes: Option<u32>,
}

impl<D: Disk> Candidate<D> {
    /// Opens what was listed.
    pub(crate) fn open(disk: &D, listed: Listed) -> io::Result<Self> {
        let file = disk.open(&listed.path)?;
        let stat = disk.stat_open(&file)?;
        let was_live = listed.order.is_live();
        let gzip_bytes = if listed.gzip {
            gzip_size_hint(disk, &file)?
        } else {
            None
        };
        Ok(Self {
            path: listed.path,
            order: listed.order,
            gzip: listed.gzip,
            stat,
            key: None,
            prefix: Prefix::default(),
            head: Vec::new(),
            was_live,
            nameless: false,
            content: Some(Content::new(disk, file, listed.gzip)),
            gzip_bytes,
        })
    }

    /// A file that was being read and is laid aside; without a key if it has another content now.
    pub(crate) fn held(
        listed: Listed,
        content: Content<D>,
        key: Option<FileKey>,
        prefix: Prefix,
    ) -> Self {
        Self {
            was_live: listed.order.is_live(),
            nameless: false,
            path: listed.path,
            order: listed.order,
            gzip: listed.gzip,
            stat: listed.stat,
            key,
            prefix,
            head: Vec::new(),
            content: Some(content),
            gzip_bytes: None,
        }
    }

    /// Whether `listed` is this file: certain while it is held open; otherwise nothing about it may
    /// have changed.
    pub(crate) fn is(&self, listed: &Listed) -> bool {
        let same = self.stat.same_file(&listed.stat) && self.gzip == listed.gzip;
        let unchanged = self.path == listed.path
            && self.stat.bytes == listed.stat.bytes
            && self.stat.changed == listed.stat.changed;
        same && (self.content.is_some() || unchanged)
    }

    /// Whether the file that is held open has another content by now.
    pub(crate) fn is_replaced(&self, disk: &D, listed: &Listed) -> bool {
        let Some(content) = &self.content else {
            return false;
        };
        let changed = listed.stat.changed != self.stat.changed;
        let shrunk = listed.stat.bytes < self.stat.bytes;
        changed && (shrunk || !content.begins_with(disk, self.prefix).unwrap_or(true))
    }

    /// The same file under the name and with the size it has now.
    #[must_use]
    pub(crate) fn at(mut self, listed: Listed) -> Self {
        self.nameless = false;
        self.path = listed.path;
        self.order = listed.order;
        self.stat = listed.stat;
        self
    }

    /// Looks at how it begins, and how large it is.
    pub(crate) fn look(&mut self, disk: &D) -> io::Result<()> {
        if let Some(content) = &mut self.content {
            self.stat = disk.stat_open(&content.file)?;
            self.head = content.head(disk)?;
            let identifying = first_line(&self.head).unwrap_or(&self.head);
            self.prefix = Prefix::of(identifying);
        }
        Ok(())
    }

    /// Whether its first line is complete, or too long to wait for.
    pub(crate) fn has_first_line(&self) -> bool {
        first_line(&self.head).is_some()
    }

    /// Its open file, if it is held.
    pub(crate) const fn content(&self) -> Option<&Content<D>> {
        self.content.as_ref()
    }

    /// Its uncompressed size, as far as that is known without reading it.
    pub(crate) fn bytes(&self) -> u64 {
        if self.gzip {
            return u64::from(self.gzip_bytes.unwrap_or_default());
        }
        self.stat.bytes
    }

    /// Whether nothing is left behind `offset`.
    pub(crate) fn is_read(&self, offset: u64) -> bool {
        if !self.gzip {
            return self.stat.bytes <= offset;
        }
        let low = u32::try_from(offset & u64::from(u32::MAX)).unwrap_or_default();
        offset == u64::MAX || (offset > 0 && self.gzip_bytes == Some(low))
    }

    /// Whether nothing was added for a while.
    pub(crate) fn is_quiet(&self, now: Now) -> bool {
        is_old(self.stat.modified, now)
    }

    /// Whether it is open.
    pub(crate) fn is_held(&self) -> bool {
        self.content.is_some()
    }

    /// Nothing of it is needed for now.
    pub(crate) fn close(&mut self) {
        self.content = None;
        self.head = Vec::new();
    }

    /// Whether the bytes before `offset` are those that `marker` was taken of.
    pub(crate) fn continues(&self, disk: &D, offset: u64, marker: Marker) -> bool {
        let Some(content) = self.content.as_ref().filter(|_| !self.gzip) else {
            return self.gzip;
        };
        let start = offset.saturating_sub(u64::from(marker.bytes));
        let mut bytes = [0; MARKER_BYTES_MAX];
        let into = bytes
            .get_mut(..usize::from(marker.bytes))
            .unwrap_or_default();
        match disk.read_full_at(&content.file, into, start) {
            Ok(got) if got == into.len() => {
                self.stat.bytes >= offset
                    && (into.is_empty() || XxHash3_64::oneshot(into) == marker.hash)
            }
            _ => false,
        }
    }

    /// Whether this is a copy of `other` that is being made: equal as far as it goes.
    pub(crate) fn is_start_of(&self, disk: &D, other: &Content<D>) -> bool {
        let Some(content) = self.content.as_ref().filter(|_| !self.gzip) else {
            return false;
        };
        let fits = disk
            .stat_open(&other.file)
            .is_ok_and(|stat| stat.bytes >= self.stat.bytes);
        let tail = self.stat.bytes.saturating_sub(COMPARED_BYTES_MAX as u64);
        let same = |offset: u64| {
            let (mut ours, mut theirs) = ([0; COMPARED_BYTES_MAX], [0; COMPARED_BYTES_MAX]);
            let ours_read = disk.read_full_at(&content.file, &mut ours, offset).ok()?;
            let theirs_read = disk.read_full_at(&other.file, &mut theirs, offset).ok()?;
            // What was added since it was measured is not compared.
            let counted = usize::try_from(self.stat.bytes - offset).unwrap_or(usize::MAX);
            let counted = counted.min(COMPARED_BYTES_MAX);
            let read = ours_read.min(theirs_read) >= counted;
            Some(read && ours.get(..counted) == theirs.get(..counted))
        };
        fits && [0, tail]
            .into_iter()
            .all(|offset| same(offset) == Some(true))
    }

    /// The content, opened again if it was closed.
    pub(crate) fn into_content(mut self, disk: &D) -> io::Result<(Self, Content<D>)> {
        let content = match self.content.take() {
            Some(content) => content,
            None => Content::new(disk, disk.open(&self.path)?, self.gzip),
        };
        Ok((self, content))
    }
}
