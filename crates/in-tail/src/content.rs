//! The content of one open file, compressed or not, by uncompressed offset.
//!
//! A file that is written in place can get another content under the same descriptor (truncation).
//! So its beginning is compared *after* each read, and bytes that may belong to another content are
//! never handed out.

use std::io;
use std::io::{BufReader, Read as _};

use flate2::bufread::MultiGzDecoder;
use model::time::UnixNanos;

use crate::disk::{Disk, Stream};
use crate::identity::{FIRST_LINE_BYTES_MAX, PREFIX_BYTES_MAX, Prefix};

/// How much is decompressed and thrown away in one go on the way to an offset.
const SKIP_BYTES_MAX: u64 = 1024 * 1024;
const COMPRESSED_BUFFER_BYTES: usize = 16 * 1024;

/// The first line of a file that begins with `head`, with its newline, or what stands for it because
/// it is too long; none while it is not complete.
pub(crate) fn first_line(head: &[u8]) -> Option<&[u8]> {
    match memchr::memchr(b'\n', head) {
        Some(newline) => head.get(..=newline),
        None => head.get(..FIRST_LINE_BYTES_MAX),
    }
}

/// What reading at an offset gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// This many bytes.
    Bytes(usize),
    /// Nothing more for now.
    End,
    /// Nothing yet, but there may be more: call again.
    Skipped,
    /// The file has another content than before.
    Replaced,
}

/// An open file and, if it is compressed, its decoder.
pub(crate) struct Content<D: Disk> {
    pub(crate) file: D::File,
    gunzip: Option<Gunzip<D>>,
    /// When it was last changed, as of the last look at its end.
    seen: UnixNanos,
}

struct Gunzip<D: Disk> {
    decoder: MultiGzDecoder<BufReader<Stream<D>>>,
    position: u64,
}

impl<D: Disk> Gunzip<D> {
    fn new(disk: &D, file: &D::File) -> Self {
        let stream = Stream::new(disk.clone(), file.clone());
        let buffered = BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, stream);
        Self {
            decoder: MultiGzDecoder::new(buffered),
            position: 0,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.decoder.read(rest) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What came before the damage is good; the next read meets it first.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }
}

impl<D: Disk> Content<D> {
    /// Of a file that was opened.
    pub(crate) fn new(disk: &D, file: D::File, gzip: bool) -> Self {
        let gunzip = gzip.then(|| Gunzip::new(disk, &file));
        Self {
            file,
            gunzip,
            seen: UnixNanos::default(),
        }
    }

    /// Whether it is compressed: then it is complete and never changes.
    pub(crate) const fn is_gzip(&self) -> bool {
        self.gunzip.is_some()
    }

    /// The beginning as far as it is there: [`PREFIX_BYTES_MAX`] bytes and the first line, at most
    /// [`FIRST_LINE_BYTES_MAX`].
    pub(crate) fn head(&mut self, disk: &D) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PREFIX_BYTES_MAX];
        let mut filled = 0;
        loop {
            let rest = bytes.get_mut(filled..).unwrap_or_default();
            let wanted = rest.len();
            let got = match &mut self.gunzip {
                None => disk.read_full_at(&self.file, rest, filled as u64)?,
                Some(gunzip) => {
                    if gunzip.position != filled as u64 {
                        *gunzip = Gunzip::new(disk, &self.file);
                    }
                    gunzip.read(rest)?
                }
            };
            let found = memchr::memchr(b'\n', bytes.get(filled..filled + got).unwrap_or_default());
            filled += got;
            if got < wanted || found.is_some() || filled >= FIRST_LINE_BYTES_MAX {
                bytes.truncate(filled);
                return Ok(bytes);
            }
            bytes.resize((filled * 8).min(FIRST_LINE_BYTES_MAX), 0);
        }
    }

    /// Reads at `offset` what is there, at most `into`; `prefix` is how the content began before.
    pub(crate) fn read(
        &mut self,
        disk: &D,
        prefix: Prefix,
        offset: u64,
        into: &mut [u8],
    ) -> io::Result<Got> {
        if let Some(gunzip) = &mut self.gunzip {
            if gunzip.position > offset {
                *gunzip = Gunzip::new(disk, &self.file);
            }
            return skip_and_read(gunzip, offset, into);
        }
        let bytes = disk.read_full_at(&self.file, into, offset)?;
        if bytes == 0 {
            let stat = disk.stat_open(&self.file)?;
            // It may have been truncated and written to the very same length.
            let changed = std::mem::replace(&mut self.seen, stat.changed) != stat.changed;
            let replaced = stat.bytes < offset || (changed && !self.begins_with(disk, prefix)?);
            return Ok(if replaced { Got::Replaced } else { Got::End });
        }
        Ok(if self.begins_with(disk, prefix)? {
            Got::Bytes(bytes)
        } else {
            Got::Replaced
        })
    }

    /// Whether the content still begins as it did; compressed files do not change.
    pub(crate) fn begins_with(&self, disk: &D, prefix: Prefix) -> io::Result<bool> {
        if self.is_gzip() {
            return Ok(true);
        }
        let mut head = [0; PREFIX_BYTES_MAX];
        let counted = head
            .get_mut(..usize::from(prefix.bytes))
            .unwrap_or_default();
        let bytes = disk.read_full_at(&self.file, counted, 0)?;
        Ok(prefix.matches(counted.get(..bytes).unwrap_or_default()))
    }
}

fn skip_and_read<D: Disk>(gunzip: &mut Gunzip<D>, offset: u64, into: &mut [u8]) -> io::Result<Got> {
    let stop = gunzip.position.saturating_add(SKIP_BYTES_MAX);
    while gunzip.position < offset {
        if gunzip.position >= stop {
            return Ok(Got::Skipped);
        }
        let gap = usize::try_from(offset - gunzip.position).unwrap_or(usize::MAX);
        let length = into.len().min(gap);
        let scratch = into.get_mut(..length).unwrap_or_default();
        if gunzip.read(scratch)? == 0 {
            return Ok(Got::End);
        }
    }
    Ok(match gunzip.read(into)? {
        0 => Got::End,
        bytes => Got::Bytes(bytes),
    })
}

/// The uncompressed size modulo 2^32 that a gzip file's last four bytes state: a hint only.
pub(crate) fn gzip_size_hint<D: Disk>(disk: &D, file: &D::File) -> io::Result<Option<u32>> {
    let bytes = disk.stat_open(file)?.bytes;
    let Some(offset) = bytes.checked_sub(4) else {
        return Ok(None);
    };
    let mut trailer = [0; 4];
    let got = disk.read_full_at(file, &mut trailer, offset)?;
    Ok((got == trailer.len()).then(|| u32::from_le_bytes(trailer)))
}
