//! How many log lines one call site may write.
//!
//! Each call site has windows of [`WINDOW`] with room for [`BURST`] lines; what goes beyond is
//! counted and told once as a summary when the window is over. Call sites are compiled in, so the
//! table is bounded by the program itself. Time is an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long a window lasts.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);
/// How many lines a call site may write in one window.
pub(crate) const BURST: u32 = 20;

/// The windows of all call sites; `K` is the call site's identity.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    windows: HashMap<K, Window>,
}

/// Lines of one call site that were not written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suppressed<K> {
    /// Which call site.
    pub(crate) site: K,
    /// How many lines.
    pub(crate) lines: u64,
}

impl<K: Copy + Eq + Hash> Limiter<K> {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self {
            windows: HashMap::new(),
        }
    }

    /// Whether `site` may write a line at `now`; counts it if not.
    pub(crate) fn admit(&mut self, site: K, now: Instant) -> bool {
        let window = self.windows.entry(site).or_insert(Window {
            start: now,
            written: 0,
            suppressed: 0,
        });
        if window.suppressed == 0 && now.duration_since(window.start) >= WINDOW {
            window.start = now;
            window.written = 0;
        }
        if window.written < BURST {
            window.written += 1;
            return true;
        }
        window.suppressed += 1;
        false
    }

    /// Takes the counts whose window is over at `now`, each told once.
    pub(crate) fn take_finished(&mut self, now: Instant) -> Vec<Suppressed<K>> {
        self.take(|window| now.duration_since(window.start) >= WINDOW, now)
    }

    /// Takes all counts, for the end of the process.
    pub(crate) fn take_all(&mut self, now: Instant) -> Vec<Suppressed<K>> {
        self.take(|_| true, now)
    }

    fn take(&mut self, over: impl Fn(&Window) -> bool, now: Instant) -> Vec<Suppressed<K>> {
        self.windows
            .iter_mut()
            .filter(|(_, window)| window.suppressed > 0 && over(window))
            .map(|(site, window)| {
                let lines = std::mem::take(&mut window.suppressed);
                window.start = now;
                window.written = 0;
                Suppressed { site: *site, lines }
            })
            .collect()
    }
}

#[derive(Debug)]
struct Window {
    start: Instant,
    written: u32,
    suppressed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(limiter: &mut Limiter<u8>, site: u8, lines: u32, now: Instant) -> usize {
        (0..lines).filter(|_| limiter.admit(site, now)).count()
    }

    #[test]
    fn a_storm_is_cut_and_counted_once() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        assert_eq!(storm(&mut limiter, 1, BURST + 980, start), BURST as usize);
        assert_eq!(limiter.take_finished(start + WINDOW / 2), []);
        let expected = [Suppressed {
            site: 1,
            lines: 980,
        }];
        assert_eq!(limiter.take_finished(start + WINDOW), expected);
        assert_eq!(limiter.take_finished(start + WINDOW * 2), []);
        assert!(limiter.admit(1, start + WINDOW));
    }

    #[test]
    fn one_site_does_not_silence_another() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        storm(&mut limiter, 1, BURST * 2, start);
        assert!(limiter.admit(2, start));
    }

    #[test]
    fn slow_sites_are_never_cut() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        for second in 0..1000 {
            assert!(limiter.admit(1, start + Duration::from_secs(second)));
        }
    }

    #[test]
    fn the_end_of_the_process_tells_what_is_left() {
        let (mut limiter, start) = (Limiter::new(), Instant::now());
        storm(&mut limiter, 7, BURST + 1, start);
        assert_eq!(limiter.take_all(start), [Suppressed { site: 7, lines: 1 }]);
    }
}
