//! The files of one container, one after another.
//!
//! ```text
//!            scan                    activate                         end
//! directory ─────▶ candidates ──────────────▶ active ──────────────────────────────▶ finished
//!            (oldest first, held              (read to its end)   when a newer file is there and
//!             open while unread)               ▲      │           this one has been quiet
//!                                              └──────┘ truncated: its copy, found by content
//! ```
//! A file is over only when something newer exists *and* nothing was added for [`GRACE`]: between
//! kubelet's rename and the runtime's reopen (and a moment longer) the runtime still writes to the
//! renamed file. One that grows even later is found by a scan and opened again where it was left.

mod end;
mod scan;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::ids::FileKey;
use model::time::UnixNanos;

use crate::candidate::{Candidate, Marker};
use crate::content::{Content, Got};
use crate::disk::{Disk, Stat};
use crate::engine::{ChunkStep, Context, Now, Opened, Step};
use crate::event::{ContainerIndex, ContainerInfo, FileOpened, FileRef};
use crate::identity::{PREFIX_BYTES_MAX, Prefix, file_key};
use crate::metrics::Happening;
use crate::names::Order;
use crate::settings::Replay;

/// How long a file has to be quiet, once a newer one is there, before it counts as ended.
pub(crate) const GRACE: Duration = Duration::from_millis(250);
/// A file not modified for this long is quiet without watching it.
const QUIET_NANOS: u64 = 1_000_000_000;
/// After so many scans without a file it is forgotten.
const MISSED_MAX: u32 = 64;

/// See the module.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one container, not states of one machine"
)]
pub(crate) struct Container<D: Disk> {
    pub(crate) info: Arc<ContainerInfo>,
    /// Its data goes before that of all others.
    pub(crate) first: bool,
    index: ContainerIndex,
    replay: Replay,
    /// Where replay begins, by file; none before the first scan.
    replay_from: Option<HashMap<FileKey, u64>>,
    candidates: Vec<Candidate<D>>,
    active: Option<Active<D>>,
    /// How far files were read that may still be on disk.
    finished: HashMap<FileKey, Finished>,
    restart: Option<u32>,
    present: bool,
    ended: bool,
    /// Nothing to read until the next poll.
    at_end: bool,
    rescan: bool,
    settling: bool,
}

/// A file that was read to its end.
#[derive(Clone, Copy, Debug)]
struct Finished {
    end: u64,
    /// Scans in a row that did not find it: a directory read during a rotation may miss a name.
    missed: u32,
}

/// The file that is being read.
struct Active<D: Disk> {
    content: Content<D>,
    file: FileRef,
    path: PathBuf,
    order: Order,
    stat: Stat,
    prefix: Prefix,
    marker: Marker,
    offset: u64,
    from: u64,
    /// Found under `path` by the last scan.
    listed: bool,
    /// The last byte handed out ended a line.
    at_line_end: bool,
    /// A copy of what was truncated: complete as it is.
    copy: bool,
    superseded: Option<Duration>,
}

impl<D: Disk> Container<D> {
    /// Of which nothing is known yet.
    pub(crate) fn new(
        index: ContainerIndex,
        info: Arc<ContainerInfo>,
        replay: Replay,
        first: bool,
    ) -> Self {
        Self {
            info,
            first,
            index,
            replay,
            replay_from: None,
            candidates: Vec::new(),
            active: None,
            finished: HashMap::new(),
            restart: None,
            present: false,
            ended: false,
            at_end: true,
            rescan: true,
            settling: false,
        }
    }

    /// Look again.
    pub(crate) fn wake(&mut self, scan: bool) {
        self.at_end = false;
        self.settling = false;
        self.rescan |= scan || self.active.is_none();
    }

    /// Whether a file may still get its last bytes.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling
    }

    /// Whether there is no directory to watch.
    pub(crate) fn is_absent(&self) -> bool {
        !self.present && !self.info.is_cri()
    }

    /// The directory its files are in, if it is there.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        if self.info.is_cri() {
            return self.present.then(|| self.info.path.clone());
        }
        let parent = self.info.path.parent()?;
        let watched = if self.present {
            Some(parent)
        } else {
            parent.parent()
        };
        watched.map(PathBuf::from)
    }

    /// Does one thing; false if there is nothing to do until the next poll.
    pub(crate) fn step(&mut self, context: &mut Context<D>, now: Now) -> bool {
        if self.at_end {
            return false;
        }
        if std::mem::take(&mut self.rescan) {
            self.scan(context, now);
        }
        while context.steps.is_empty() && !self.at_end {
            if self.active.is_some() {
                self.read(context, now);
            } else if !self.activate(context, now) {
                self.at_end = true;
                self.end_container(context);
            }
        }
        !context.steps.is_empty()
    }

    /// The first byte of the file that was not handed out and is not covered.
    fn from(&self, context: &Context<D>, key: FileKey) -> u64 {
        let finished = self.finished.get(&key);
        finished.map_or_else(|| context.from(key), |finished| finished.end)
    }

    /// The first byte to hand out, replay included.
    fn start(&self, context: &Context<D>, key: FileKey) -> u64 {
        if let Some(finished) = self.finished.get(&key) {
            return finished.end;
        }
        let replay = self.replay_from.as_ref().and_then(|plan| plan.get(&key));
        replay.copied().unwrap_or_else(|| context.from(key))
    }

    /// Opens the oldest file that is not read to its end, or the newest to follow it.
    fn activate(&mut self, context: &mut Context<D>, now: Now) -> bool {
        let count = self.candidates.len();
        for at in 0..count {
            let newest = at + 1 == count;
            let Some(candidate) = self.candidates.get(at) else {
                break;
            };
            let Some(key) = self.key_of(candidate, newest, now) else {
                if candidate.head.is_empty() && !newest {
                    continue;
                }
                self.settling = !candidate.head.is_empty() && (!newest || !self.present);
                return false;
            };
            let start = self.start(context, key);
            if candidate.is_read(start) && !(newest && candidate.stat.bytes >= start) {
                continue;
            }
            if candidate.gzip && candidate.is_read(start) {
                continue;
            }
            let candidate = self.candidates.remove(at);
            return self.open(context, candidate, key);
        }
        false
    }

    /// The candidate's key. A CRI file that a newer one follows gets it even without a complete first
    /// line: nobody will complete it.
    fn key_of(&self, candidate: &Candidate<D>, newest: bool, now: Now) -> Option<FileKey> {
        candidate.key.or_else(|| {
            let over = !newest || !self.present;
            let over = over && !candidate.head.is_empty() && candidate.is_quiet(now);
            let pod = self.info.pod.as_ref().filter(|_| over)?;
            let restart = candidate.order.restart;
            Some(file_key(
                &pod.uid,
                &self.info.name,
                restart,
                &candidate.head,
            ))
        })
    }

    fn open(&mut self, context: &mut Context<D>, candidate: Candidate<D>, key: FileKey) -> bool {
        let start = self.start(context, key);
        let from = self.from(context, key);
        let path = candidate.path.clone();
        let held = candidate.is_held();
        let opened = candidate.into_content(&context.disk);
        let opened = opened.and_then(|(mut candidate, content)| {
            candidate.stat = context.disk.stat_open(&content.file)?;
            // One that was not held open may have lost its name to another file since.
            let same = held || content.begins_with(&context.disk, candidate.prefix)?;
            let moved = || io::Error::from(io::ErrorKind::NotFound);
            same.then_some((candidate, content)).ok_or_else(moved)
        });
        let (mut active, mut content) = match opened {
            Ok((candidate, content)) => (candidate, content),
            Err(source) => {
                context.read_failed(&path, source);
                self.rescan = true;
                return false;
            }
        };
        let start = if start > 0 && start < from {
            next_line(context, &mut content, active.prefix, start, from)
        } else {
            start
        };
        let file = context.file(key);
        let restart = active.order.restart;
        if self.restart.is_some_and(|before| before < restart) {
            context.metrics.count(Happening::Restart);
            context
                .steps
                .push_back(Step::RestartSeen(self.index, restart));
        }
        self.restart = self.restart.max(Some(restart));
        let first_seen = context.generations().first_seen(key);
        context.steps.push_back(Step::FileOpened(FileOpened {
            container: self.index,
            file,
            path: path.clone(),
            restart,
            start,
            from,
            first_seen: first_seen.unwrap_or_default(),
        }));
        let prefix = std::mem::take(&mut active.prefix);
        register(context, key, &path, &content, prefix);
        self.active = Some(Active {
            content,
            file,
            path,
            order: active.order.clone(),
            stat: active.stat,
            prefix,
            marker: Marker::default(),
            offset: start,
            from,
            listed: true,
            at_line_end: true,
            copy: false,
            superseded: None,
        });
        true
    }

    fn read(&mut self, context: &mut Context<D>, now: Now) {
        context.grow_buffer(false);
        let Some(active) = &mut self.active else {
            return;
        };
        // A chunk is either replayed as a whole or not at all.
        let replayed = active.offset < active.from;
        let left = active.from.wrapping_sub(active.offset);
        let room = context.buffer.len();
        let limit = if replayed {
            usize::try_from(left).unwrap_or(room).min(room)
        } else {
            room
        };
        let into = context.buffer.get_mut(..limit).unwrap_or_default();
        let got = active
            .content
            .read(&context.disk, active.prefix, active.offset, into);
        match got {
            Ok(Got::Bytes(bytes)) => self.emit(context, bytes, replayed, bytes == room),
            Ok(Got::Skipped) => context.steps.push_back(Step::Yield),
            Ok(Got::End) => self.at_file_end(context, now),
            Ok(Got::Replaced) => self.replaced(context, now),
            Err(source) => self.failed(context, source),
        }
    }

    fn emit(&mut self, context: &mut Context<D>, bytes: usize, replayed: bool, filled: bool) {
        let Some(active) = &mut self.active else {
            return;
        };
        let chunk = context.buffer.get(..bytes).unwrap_or_default();
        active.marker = Marker::of(chunk);
        active.at_line_end = chunk.ends_with(b"\n");
        context.steps.push_back(Step::Chunk(ChunkStep {
            container: self.index,
            file: active.file,
            offset: active.offset,
            bytes,
            replayed,
        }));
        active.offset += bytes as u64;
        active.superseded = None;
        let counter = if replayed {
            &context.metrics.replayed
        } else {
            &context.metrics.read
        };
        counter.inc_by(bytes as u64);
        if filled {
            context.grow_buffer(true);
        }
        self.extend_prefix(context);
    }

    /// A plain file that was short when it got its key is recognised by more as it grows; in steps of
    /// doubling, because each is written to the state file.
    fn extend_prefix(&mut self, context: &mut Context<D>) {
        let Some(active) = &mut self.active else {
            return;
        };
        let known = u64::from(active.prefix.bytes);
        let enough = (known * 2).min(PREFIX_BYTES_MAX as u64);
        if self.info.is_cri() || active.content.is_gzip() || active.copy {
            return;
        }
        if known >= PREFIX_BYTES_MAX as u64 || active.offset < enough {
            return;
        }
        let mut head = [0; PREFIX_BYTES_MAX];
        let file = &active.content.file;
        let Ok(bytes) = context.disk.read_full_at(file, &mut head, 0) else {
            return;
        };
        let head = head.get(..bytes).unwrap_or_default();
        if active.prefix.matches(head) {
            active.prefix = Prefix::of(head);
            context.generations().extend(active.file.key, head);
            context.save();
        }
    }
}

/// Where the first line begins that begins at `start` or behind it; `from` if none does before it.
fn next_line<D: Disk>(
    context: &mut Context<D>,
    content: &mut Content<D>,
    prefix: Prefix,
    start: u64,
    from: u64,
) -> u64 {
    context.grow_buffer(false);
    let mut offset = start - 1;
    while offset < from {
        let got = content.read(&context.disk, prefix, offset, &mut context.buffer);
        let bytes = match got {
            Ok(Got::Bytes(bytes)) => context.buffer.get(..bytes).unwrap_or_default(),
            Ok(Got::Skipped) => continue,
            // Reading it for good meets the same and says so.
            Ok(Got::End | Got::Replaced) | Err(_) => return from,
        };
        if let Some(newline) = memchr::memchr(b'\n', bytes) {
            return from.min(offset + newline as u64 + 1);
        }
        offset += bytes.len() as u64;
    }
    from
}

/// Whether a file modified then is quiet without watching it.
pub(crate) fn is_old(modified: UnixNanos, now: Now) -> bool {
    now.wall.since(modified) >= QUIET_NANOS
}

fn register<D: Disk>(
    context: &mut Context<D>,
    key: FileKey,
    path: &std::path::Path,
    content: &Content<D>,
    prefix: Prefix,
) {
    context.opened.push(Opened {
        key,
        path: path.to_path_buf(),
        source: Some((content.file.clone(), content.is_gzip(), prefix)),
    });
}
