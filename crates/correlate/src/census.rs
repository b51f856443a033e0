//! Which access line is which request's, so that each is counted once.
//!
//! The service prints one access line for nearly every HTTP request it served, but not for one whose
//! handler panicked, nor for one that the proxy answered by itself; and of some requests there is
//! only the line: nobody sent a span or a record of them. So **a line counts for its request**, and a
//! request that was heard of otherwise counts by itself only if it has no line.
//!
//! ```text
//! access line ─▶ a request waits for it? ─ yes ▶ that request goes on, with the line's status
//!                         └─ no ▶ the line is remembered
//! request ─▶ a line is remembered? ─ yes ▶ it goes on, with the line's status
//!                         └─ no ▶ it waits, until lines printed after its end were read
//! ```
//! A line is a request's if method and path are the same, statuses do not differ, and the times fit;
//! among several, the one that was printed nearest to the request's end. Which of two equal requests
//! gets which of two equal lines does not matter to what is counted.
//!
//! Time is an argument. Both sides are bounded in number, and by time: a line is remembered while later
//! ones are read, and for as long if none are. What does not fit counts by itself.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use model::time::UnixNanos;

/// How long a request waits for its line at least, and how long a silent log is waited for.
const HOLD: u64 = 2_000_000_000;
/// A line is printed so soon after its request's end that one printed later is another's.
const LINE_DELAY: u64 = 2_000_000_000;
/// Clocks of proxy and service, and the time between them, differ by less.
const TOLERANCE: u64 = 1_000_000_000;
/// Lines remembered so long after they were printed, without a request.
const REMEMBER: u64 = 120_000_000_000;
/// Most lines that are remembered.
const LINES_MAX: usize = 65_536;
/// Most requests that wait.
const WAITING_MAX: usize = 16_384;
/// Most bytes of their paths: some are long.
const WAITING_BYTES_MAX: usize = 4 << 20;

const SECOND: u64 = 1_000_000_000;

/// The access line of an HTTP request.
#[derive(Clone, Copy, Debug)]
pub struct AccessLine<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path; its query is ignored.
    pub path: &'a str,
    /// HTTP status.
    pub status: u16,
    /// The second in which it began.
    pub started: UnixNanos,
    /// When the line was printed.
    pub printed: UnixNanos,
}

/// An HTTP request that was heard of from spans or the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Path in any case; its query is ignored.
    pub path: &'a str,
    /// HTTP status; 0 if not known.
    pub status: u16,
    /// When it began.
    pub start: UnixNanos,
    /// When it ended.
    pub end: UnixNanos,
}

/// Lines without requests and requests without lines; `T` is what the caller knows of a request.
#[derive(Debug)]
pub struct Census<T> {
    lines: HashMap<u64, VecDeque<Line>>,
    lines_held: usize,
    waiting: VecDeque<Waiting<T>>,
    waiting_bytes: usize,
    hasher: RandomState,
    /// Reused for every key.
    name: Vec<u8>,
    /// Latest time at which a line was printed that was read, and when that was.
    printed_until: u64,
    read_at: u64,
    swept_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    status: u16,
    started: u64,
    printed: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    key: u64,
    status: u16,
    start: u64,
    end: u64,
    since: u64,
    path_bytes: usize,
    request: T,
}

impl<T> Default for Census<T> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            lines_held: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            hasher: RandomState::new(),
            name: Vec::new(),
            printed_until: 0,
            read_at: 0,
            swept_at: 0,
        }
    }
}

impl<T> Census<T> {
    /// Takes an access line that was read; answers the request that waited for it.
    pub fn line(&mut self, line: &AccessLine<'_>) -> Option<T> {
        let key = self.key(line.method, line.path);
        let own = Line {
            status: line.status,
            started: line.started.0,
            printed: line.printed.0,
        };
        let fits = |waiting: &&Waiting<T>| waiting.key == key && own.fits(waiting.facts());
        let distance = |waiting: &Waiting<T>| waiting.end.abs_diff(own.printed);
        let nearest = self.waiting.iter().enumerate();
        let nearest = nearest.filter(|(_, waiting)| fits(waiting));
        let nearest = nearest.min_by_key(|(_, waiting)| distance(waiting));
        if let Some((place, _)) = nearest {
            let met = self.waiting.remove(place)?;
            self.waiting_bytes -= met.path_bytes;
            return Some(met.request);
        }
        if self.lines_held < LINES_MAX {
            self.lines.entry(key).or_default().push_back(own);
            self.lines_held += 1;
        }
        None
    }

    /// Notes that a line printed at `printed` was read.
    pub fn read(&mut self, printed: UnixNanos, now: UnixNanos) {
        self.printed_until = self.printed_until.max(printed.0);
        self.read_at = now.0;
    }

    /// Takes a request: answers the status that its line says, or keeps `request` until there is a
    /// line or there will be none.
    ///
    /// # Errors
    /// The request again, if too many wait: it has to go without a line.
    pub fn request(
        &mut self,
        heard: &Heard<'_>,
        request: T,
        now: UnixNanos,
    ) -> Result<Option<(T, u16)>, T> {
        let key = self.key(heard.method, heard.path);
        let facts = (heard.status, heard.start.0, heard.end.0);
        if let Some(status) = self.take_line(key, facts) {
            return Ok(Some((request, status)));
        }
        let bytes = self.waiting_bytes.saturating_add(heard.path.len());
        if self.waiting.len() >= WAITING_MAX || bytes > WAITING_BYTES_MAX {
            return Err(request);
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(Waiting {
            key,
            status: heard.status,
            start: heard.start.0,
            end: heard.end.0,
            since: now.0,
            path_bytes: heard.path.len(),
            request,
        });
        Ok(None)
    }

    /// Hands over requests that have no line: later lines were read, or none came for a while.
    pub fn without_line(&mut self, now: UnixNanos, mut each: impl FnMut(T)) {
        self.sweep(now);
        if self.waiting.is_empty() {
            return;
        }
        let silent = self.read_at.saturating_add(HOLD) <= now.0;
        for waiting in std::mem::take(&mut self.waiting) {
            let passed = waiting.end.saturating_add(LINE_DELAY) <= self.printed_until;
            let over = waiting.since.saturating_add(HOLD) <= now.0 && (silent || passed);
            if over {
                self.waiting_bytes -= waiting.path_bytes;
                each(waiting.request);
            } else {
                self.waiting.push_back(waiting);
            }
        }
    }

    /// Hands over all requests that wait: no more lines will come.
    pub fn release(&mut self, mut each: impl FnMut(T)) {
        self.waiting_bytes = 0;
        for waiting in std::mem::take(&mut self.waiting) {
            each(waiting.request);
        }
    }

    /// When [`Census::without_line`] may have something next, or something to forget.
    pub fn deadline(&self) -> Option<UnixNanos> {
        let first = self.waiting.front();
        let alone = first.map(|first| self.read_at.max(first.since).saturating_add(HOLD));
        let forgotten = (self.lines_held > 0).then(|| self.read_at.saturating_add(REMEMBER));
        alone.into_iter().chain(forgotten).min().map(UnixNanos)
    }

    /// Requests that wait for their line.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn take_line(&mut self, key: u64, facts: (u16, u64, u64)) -> Option<u16> {
        let lines = self.lines.get_mut(&key)?;
        let fitting = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.fits(facts));
        let (place, _) = fitting.min_by_key(|(_, line)| line.printed.abs_diff(facts.2))?;
        let line = lines.remove(place)?;
        self.lines_held -= 1;
        if lines.is_empty() {
            self.lines.remove(&key);
        }
        Some(line.status)
    }

    /// Forgets lines that no request came for.
    fn sweep(&mut self, now: UnixNanos) {
        // a request of which nobody spoke while the log was silent has no other source
        let silent = self.lines_held > 0 && self.read_at.saturating_add(REMEMBER) <= now.0;
        if !silent && now.0.saturating_sub(self.swept_at) < REMEMBER / 8 {
            return;
        }
        self.swept_at = now.0;
        let oldest = if silent {
            u64::MAX
        } else {
            self.printed_until.min(now.0).saturating_sub(REMEMBER)
        };
        for lines in self.lines.values_mut() {
            lines.retain(|line| line.printed >= oldest);
        }
        self.lines.retain(|_, lines| !lines.is_empty());
        self.lines_held = self.lines.values().map(VecDeque::len).sum();
        if self.lines.is_empty() {
            self.lines.shrink_to_fit();
        }
    }

    fn key(&mut self, method: &str, path: &str) -> u64 {
        let path = path.as_bytes();
        let end = memchr::memchr(b'?', path).unwrap_or(path.len());
        let path = path.get(..end).unwrap_or_default();
        self.name.clear();
        self.name.extend_from_slice(method.as_bytes());
        self.name.push(b' ');
        unescape(path, &mut self.name);
        self.name.make_ascii_lowercase();
        self.hasher.hash_one(&self.name)
    }
}

impl<T> Waiting<T> {
    fn facts(&self) -> (u16, u64, u64) {
        (self.status, self.start, self.end)
    }
}

impl Line {
    /// Whether it can be the line of a request with that status, start and end.
    fn fits(&self, (status, start, end): (u16, u64, u64)) -> bool {
        let second = self.started.saturating_sub(TOLERANCE);
        let next = self.started.saturating_add(SECOND + TOLERANCE / 20);
        let printed = end.saturating_sub(TOLERANCE)..=end.saturating_add(LINE_DELAY);
        (status == 0 || status == self.status)
            && (second..next).contains(&start)
            && printed.contains(&self.printed)
    }
}

/// Appends `path` without its percent escapes: span names have none.
fn unescape(path: &[u8], out: &mut Vec<u8>) {
    if memchr::memchr(b'%', path).is_none() {
        return out.extend_from_slice(path);
    }
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        let escaped = tail.first_chunk().filter(|_| *byte == b'%');
        let decoded = escaped.and_then(|pair: &[u8; 2]| {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        });
        out.push(decoded.unwrap_or(*byte));
        rest = match decoded {
            Some(_) => tail.get(2..).unwrap_or_default(),
            None => tail,
        };
    }
}

#[cfg(test)]
mod tests;
