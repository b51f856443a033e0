//! One stream of the command: from its pipe into the copy, and on to where it would have gone.
//!
//! The copy comes first, so that every line that is seen outside is in it. Whoever reads what is passed
//! on may hold up this stream, as it would hold up the command without us; the other stream goes on.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::time::UnixNanos;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::output::{Change, Output};
use super::wire::{Block, Framing};
use crate::environment;

/// The default size of a pipe.
const READ_BYTES: usize = 64 * 1024;

/// What the relays of both streams share.
pub(super) struct Shared {
    pub(super) output: Mutex<Output>,
    /// The command has ended.
    pub(super) ended: AtomicBool,
    /// Readable from then on.
    pub(super) end: PipeReader,
    /// Told what happens to the copy; must not block.
    pub(super) tell: fn(Change),
}

/// One stream's relay.
pub(super) struct Relay<S> {
    source: PipeReader,
    sink: Option<S>,
    framing: Framing,
    block: Block,
    shared: Arc<Shared>,
    /// How much is still read after the command's end.
    remaining: Option<u64>,
}

impl<S: AsFd> Relay<S> {
    /// # Errors
    /// If the pipe cannot be read without waiting.
    pub(super) fn new(
        source: PipeReader,
        sink: S,
        framing: Framing,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        // only our end: the command's writes wait as ever
        rustix::io::ioctl_fionbio(&source, true)?;
        Ok(Self {
            source,
            sink: Some(sink),
            framing,
            block: Block::default(),
            shared,
            remaining: None,
        })
    }

    /// Relays until nobody can write any more, or the command has ended and everything that it left
    /// in the pipe is relayed: a descendant that still holds the pipe is not waited for.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(Errno::AGAIN) => {
                    self.wait();
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(_) => break,
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            self.copy(bytes, environment::now());
            self.pass_on(bytes);
        }
        let now = environment::now();
        self.framing.finish(now, &mut self.block);
        self.write(now);
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.remaining.is_none() && self.shared.ended.load(Ordering::Acquire) {
            self.remaining = Some(rustix::io::ioctl_fionread(&self.source)?);
        }
        let Some(remaining) = &mut self.remaining else {
            return rustix::io::read(&self.source, buffer);
        };
        let most = usize::try_from(*remaining).map_or(buffer.len(), |most| most.min(buffer.len()));
        let (window, _) = buffer.split_at_mut(most);
        if window.is_empty() {
            return Ok(0);
        }
        let count = rustix::io::read(&self.source, window)?;
        *remaining = remaining.saturating_sub(count as u64);
        Ok(count)
    }

    /// Until there is something to read, or the command has ended.
    fn wait(&self) {
        let mut wanted = [
            PollFd::new(&self.source, PollFlags::IN),
            PollFd::new(&self.shared.end, PollFlags::IN),
        ];
        // whatever it answers: reading tells
        poll(&mut wanted, None).ok();
    }

    fn copy(&mut self, bytes: &[u8], now: UnixNanos) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.framing.frame(rest, now, &mut self.block);
            self.write(now);
        }
    }

    fn write(&mut self, now: UnixNanos) {
        let mut output = lock(&self.shared.output);
        let change = output.write(&self.block, now);
        drop(output);
        self.block.clear();
        if let Some(change) = change {
            (self.shared.tell)(change);
        }
    }

    fn pass_on(&mut self, bytes: &[u8]) {
        let Some(sink) = &self.sink else { return };
        if pass_on(sink.as_fd(), bytes).is_err() {
            // nobody will ever read there; the command is no worse off for it
            self.sink = None;
        }
    }
}

/// The copy, even if somebody failed while holding it.
pub(super) fn lock(output: &Mutex<Output>) -> std::sync::MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass_on(sink: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::write(sink, rest) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            // somebody who has the same descriptor made it so
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&sink, PollFlags::OUT)], None)
                    .map(drop)
                    .or_else(ignore_interrupt)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn ignore_interrupt(error: Errno) -> Result<(), Errno> {
    (error == Errno::INTR).then_some(()).ok_or(error)
}
