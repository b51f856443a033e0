//! How a file ends: a newer one follows, its content was replaced, it is damaged or deleted.

use std::io;

use super::{Active, Container, Finished, GRACE, is_old, register};
use crate::candidate::Candidate;
use crate::content::Content;
use crate::disk::{Disk, Stat};
use crate::engine::{Context, Now, Opened, Step};
use crate::error::Error;
use crate::event::{EndReason, FileEnded};
use crate::identity::Prefix;
use crate::listing::Listed;
use crate::metrics::Happening;

impl<D: Disk> Container<D> {
    pub(super) fn at_file_end(&mut self, context: &mut Context<D>, now: Now) {
        let moved = self.active.as_ref().is_some_and(|active| {
            let named = context.disk.stat(&active.path);
            active.listed && !named.is_ok_and(|named| named.same_file(&active.stat))
        });
        if moved {
            self.scan(context, now);
        }
        if self.suspend(context) {
            return;
        }
        let present = self.present;
        let Some(active) = &mut self.active else {
            return;
        };
        let newer = |candidate: &&Candidate<D>| {
            let later = candidate.order > active.order || (!active.listed && candidate.is_held());
            later && candidate.key != Some(active.file.key)
        };
        let newer = self.candidates.iter().find(newer);
        let reason = match newer {
            _ if active.copy => EndReason::Truncated,
            Some(newer) if newer.order.restart > active.order.restart => EndReason::Restarted,
            Some(_) => EndReason::Rotated,
            None if active.content.is_gzip() => EndReason::Rotated,
            None if !present => EndReason::Deleted,
            None => {
                active.superseded = None;
                self.at_end = true;
                return;
            }
        };
        let complete = active.copy || active.content.is_gzip();
        if complete || is_quiet(active, context, now) {
            self.end(context, reason);
        } else {
            self.settling = true;
            self.at_end = true;
        }
    }

    /// Lays the active file aside if an older one has grown after its end or can only now be read.
    fn suspend(&mut self, context: &Context<D>) -> bool {
        let Some(active) = self.active.as_ref().filter(|a| a.listed && a.at_line_end) else {
            return false;
        };
        let late = self.candidates.iter().any(|candidate| {
            let unread =
                |key| key != active.file.key && !candidate.is_read(self.start(context, key));
            candidate.order < active.order && candidate.key.is_some_and(unread)
        });
        let Some(active) = self.active.take_if(|_| late) else {
            return false;
        };
        let (key, end) = (active.file.key, active.offset);
        self.finished.insert(key, Finished { end, missed: 0 });
        let listed = Listed {
            path: active.path,
            order: active.order,
            gzip: active.content.is_gzip(),
            stat: Stat {
                bytes: active.offset,
                ..active.stat
            },
        };
        self.candidates.push(Candidate::held(
            listed,
            active.content,
            Some(key),
            active.prefix,
        ));
        self.candidates
            .sort_by(|a, b| (&a.order, a.gzip).cmp(&(&b.order, b.gzip)));
        true
    }

    fn end(&mut self, context: &mut Context<D>, reason: EndReason) {
        let Some(active) = self.active.take() else {
            return;
        };
        match reason {
            EndReason::Rotated => context.metrics.count(Happening::Rotation),
            EndReason::Deleted => context.metrics.count(Happening::Deletion),
            EndReason::Restarted | EndReason::Truncated | EndReason::Damaged => {}
        }
        let end = match reason {
            // Nothing behind the damage can be read, however often it is tried.
            EndReason::Damaged => u64::MAX,
            _ => active.offset,
        };
        self.finished
            .insert(active.file.key, Finished { end, missed: 0 });
        if !self.info.is_cri() {
            context.generations().retire(active.file.key);
            context.save();
        }
        context.steps.push_back(Step::FileEnded(FileEnded {
            container: self.index,
            file: active.file,
            end: active.offset,
            reason,
        }));
        // The file itself is still listed as nothing: look at the directory once more.
        self.rescan = true;
    }

    /// The file has another content than before: continue in a copy of the old one, if there is one.
    pub(super) fn replaced(&mut self, context: &mut Context<D>, now: Now) {
        let Some(mut old) = self.active.take() else {
            return;
        };
        context.metrics.count(Happening::Truncation);
        let key = old.file.key;
        if !self.info.is_cri() {
            context.generations().retire(key);
        }
        let end = old.offset;
        self.finished.insert(key, Finished { end, missed: 0 });
        // The new content is a file of its own, even if it has lost its name already.
        let listed = Listed {
            path: old.path.clone(),
            order: old.order.clone(),
            gzip: false,
            stat: old.stat,
        };
        let again = Content::new(&context.disk, old.content.file.clone(), false);
        self.candidates
            .push(Candidate::held(listed, again, None, Prefix::default()));
        self.scan(context, now);
        let copy = self.candidates.iter().position(|candidate| {
            candidate.key == Some(key) && !candidate.stat.same_file(&old.stat)
        });
        let copy = copy.and_then(|at| {
            let candidate = self.candidates.remove(at);
            let continues = candidate.continues(&context.disk, old.offset, old.marker);
            let opened = continues.then(|| candidate.into_content(&context.disk).ok());
            opened.flatten()
        });
        let Some((candidate, content)) = copy else {
            context.metrics.count(Happening::CopyMissing);
            context.opened.push(Opened {
                key,
                path: old.path.clone(),
                source: None,
            });
            self.active = Some(old);
            return self.end(context, EndReason::Truncated);
        };
        self.finished.remove(&key);
        register(context, key, &candidate.path, &content, old.prefix);
        old.content = content;
        old.path.clone_from(&candidate.path);
        old.order = candidate.order.clone();
        old.stat = candidate.stat;
        old.copy = true;
        self.active = Some(old);
    }

    pub(super) fn failed(&mut self, context: &mut Context<D>, source: io::Error) {
        let Some(active) = &self.active else { return };
        let path = active.path.clone();
        if active.content.is_gzip() {
            let offset = active.offset;
            let error = Error::Gzip {
                path: path.clone(),
                offset,
                source,
            };
            context.trouble(&path, io::ErrorKind::InvalidData, error);
            return self.end(context, EndReason::Damaged);
        }
        let stale = source.raw_os_error() == Some(rustix::io::Errno::STALE.raw_os_error());
        context.read_failed(&path, source);
        self.at_end = true;
        if stale {
            // A network file system forgot the handle, not the file: open it again by name.
            let (key, end) = (active.file.key, active.offset);
            self.finished.insert(key, Finished { end, missed: 0 });
            self.active = None;
        }
    }

    pub(super) fn end_container(&mut self, context: &mut Context<D>) {
        if !self.present && !self.ended && self.restart.is_some() && !self.settling {
            self.ended = true;
            context.steps.push_back(Step::ContainerEnded(self.index));
        }
    }
}

fn is_quiet<D: Disk>(active: &mut Active<D>, context: &Context<D>, now: Now) -> bool {
    let since = *active.superseded.get_or_insert(now.at);
    if now.at.saturating_sub(since) >= GRACE {
        return true;
    }
    let modified = context.disk.stat_open(&active.content.file);
    modified.is_ok_and(|stat| is_old(stat.modified, now))
}
