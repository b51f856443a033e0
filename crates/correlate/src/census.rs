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
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const T0: u64 = 1_795_406_976 * SECOND;

    fn at(millis: u64) -> UnixNanos {
        UnixNanos(T0 + millis * MS)
    }

    fn line(path: &str, status: u16, printed: u64) -> AccessLine<'_> {
        AccessLine {
            method: "GET",
            path,
            status,
            started: UnixNanos((T0 + printed * MS) / SECOND * SECOND),
            printed: at(printed),
        }
    }

    fn heard(path: &str, status: u16, end: u64) -> Heard<'_> {
        Heard {
            method: "get",
            path,
            status,
            start: at(end - 10),
            end: at(end),
        }
    }

    fn left<T>(census: &mut Census<T>, now: u64) -> Vec<T> {
        let mut left = Vec::new();
        census.without_line(at(now), |request| left.push(request));
        left
    }

    #[test]
    fn line_and_request_meet_in_either_order() {
        let mut census = Census::default();
        assert_eq!(census.line(&line("/v2/Projects/p1?x=1", 404, 500)), None);
        let met = census.request(&heard("/v2/projects/p1", 0, 499), 1, at(510));
        assert_eq!(met, Ok(Some((1, 404))));
        assert_eq!(census.request(&heard("/b", 200, 600), 2, at(600)), Ok(None));
        assert_eq!(census.line(&line("/b", 500, 601)), None, "another status");
        assert_eq!(census.line(&line("/B", 200, 602)), Some(2));
        assert_eq!(census.waiting(), 0);
        census.line(&line("/a%20B%3fc%zz?d", 200, 700));
        let met = census.request(&heard("/a b?c%zz", 0, 700), 3, at(700));
        assert_eq!(met, Ok(None), "a query ends the path of a span, too");
        let met = census.request(&heard("/a b%3Fc%zz", 0, 700), 3, at(700));
        assert_eq!(met, Ok(Some((3, 200))));
    }

    #[test]
    fn equal_requests_have_a_line_each() {
        let mut census = Census::default();
        for printed in [100, 300] {
            assert_eq!(census.line(&line("/a", 200, printed)), None);
        }
        for (request, end) in [(1, 299), (2, 99)] {
            let met = census.request(&heard("/a", 200, end), request, at(400));
            assert_eq!(met, Ok(Some((request, 200))));
        }
        assert_eq!(census.request(&heard("/a", 200, 301), 3, at(400)), Ok(None));
    }

    #[test]
    fn a_request_without_a_line_goes_when_later_lines_were_read() {
        let mut census = Census::default();
        assert_eq!(census.request(&heard("/a", 503, 100), 1, at(200)), Ok(None));
        let deadline = census.deadline().unwrap();
        assert!(left(&mut census, 200).is_empty());
        // a backlog is read: nothing is said about that time yet
        census.read(at(50), at(3_000));
        assert!(left(&mut census, 3_000).is_empty());
        census.read(at(2_500), at(3_100));
        assert_eq!(left(&mut census, 3_100), [1]);
        assert_eq!(deadline, at(2_200));
    }

    #[test]
    fn a_silent_log_is_waited_for_only_so_long() {
        let mut census = Census::default();
        census.read(at(90), at(95));
        assert_eq!(census.request(&heard("/a", 503, 100), 1, at(100)), Ok(None));
        assert!(left(&mut census, 2_000).is_empty());
        let deadline = census.deadline().unwrap();
        assert_eq!(left(&mut census, (deadline.0 - T0) / MS), [1]);
        assert_eq!(census.deadline(), None);
    }

    #[test]
    fn what_does_not_fit_in_time_is_another_request() {
        let mut census: Census<u8> = Census::default();
        census.line(&line("/a", 200, 100));
        for end in [5_000, 20_000] {
            assert_eq!(
                census.request(&heard("/a", 200, end), 1, at(end)),
                Ok(None),
                "{end}"
            );
        }
        let mut released = 0;
        census.release(|_| released += 1);
        assert_eq!(released, 2);
    }

    #[test]
    fn lines_are_forgotten_when_the_log_is_silent() {
        let mut census = Census::default();
        census.read(at(90), at(95));
        census.line(&line("/a", 200, 90));
        let deadline = census.deadline().unwrap();
        assert_eq!(deadline, UnixNanos(at(95).0 + REMEMBER));
        assert!(left::<u8>(&mut census, (deadline.0 - T0) / MS - 1).is_empty());
        assert_eq!(census.lines_held, 1);
        // the one that is read in between postpones it
        census.read(at(1_000), at(1_000));
        assert!(left(&mut census, (deadline.0 - T0) / MS).is_empty());
        assert_eq!(census.lines_held, 1);
        let deadline = census.deadline().unwrap();
        assert!(left(&mut census, (deadline.0 - T0) / MS).is_empty());
        assert_eq!((census.lines_held, census.lines.capacity()), (0, 0));
        assert_eq!(census.deadline(), None, "nothing wakes for it again");
    }

    #[test]
    fn requests_with_long_paths_are_bounded_by_their_bytes() {
        let mut census = Census::default();
        let path = "/x".repeat(1 << 15);
        let fit = WAITING_BYTES_MAX / path.len();
        for number in 0..fit {
            let waits = census.request(&heard(&path, 0, 100), number, at(100));
            assert_eq!(waits, Ok(None));
        }
        assert_eq!(census.request(&heard(&path, 0, 100), 7, at(100)), Err(7));
        assert_eq!(census.line(&line(&path, 200, 100)), Some(0));
        assert_eq!(census.request(&heard(&path, 0, 100), 8, at(100)), Ok(None));
        census.read(at(10_000), at(10_000));
        assert_eq!(left(&mut census, 10_000).len(), fit);
        assert_eq!(census.waiting_bytes, 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut census = Census::default();
        for number in 0..=LINES_MAX as u64 {
            census.line(&line(&format!("/{number}"), 200, number));
        }
        assert_eq!(census.lines_held, LINES_MAX);
        for number in 0..WAITING_MAX {
            let waits = census.request(&heard("/none", 0, 1_000_000), number, at(0));
            assert_eq!(waits, Ok(None));
        }
        let turned_away = census.request(&heard("/none", 0, 1_000_000), 7, at(0));
        assert_eq!(turned_away, Err(7));
        census.read(at(1_000_000), at(1_000_000));
        left(&mut census, 1_000_000);
        assert_eq!((census.lines_held, census.lines.len()), (0, 0));
    }
}
