//! When which sidecar is killed: decided before the run, from a seed.

/// One kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    /// As soon as so many lines were written.
    pub(crate) at_line: u64,
    /// Which sidecar.
    pub(crate) sidecar: usize,
}

/// The kills still to come, soonest first.
#[derive(Debug)]
pub(crate) struct Schedule {
    kills: Vec<Kill>,
}

impl Schedule {
    /// Spreads `count` kills of random sidecars over 5 % to 95 % of `lines`.
    pub(crate) fn new(count: u32, lines: u64, sidecars: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (first, last) = (lines * 5 / 100, lines * 95 / 100);
        let mut kills: Vec<Kill> = (0..count)
            .map(|_| Kill {
                at_line: random.u64(first..=last.max(first)),
                sidecar: random.usize(0..sidecars.max(1)),
            })
            .collect();
        kills.sort_by_key(|kill| std::cmp::Reverse(kill.at_line));
        Self { kills }
    }

    /// The next kill, if `written` lines are enough for it.
    pub(crate) fn due(&mut self, written: u64) -> Option<Kill> {
        self.kills.pop_if(|kill| kill.at_line <= written)
    }

    /// How many are still to come.
    pub(crate) fn left(&self) -> usize {
        self.kills.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_come_between_5_and_95_percent_in_order() {
        let mut schedule = Schedule::new(20, 10_000, 8, 3);
        let mut kills = Vec::new();
        for written in 0..=10_000 {
            while let Some(kill) = schedule.due(written) {
                assert_eq!(kill.at_line, written);
                kills.push(kill);
            }
        }
        assert_eq!((kills.len(), schedule.left()), (20, 0));
        assert!(kills.iter().all(|k| (500..=9500).contains(&k.at_line)));
        assert!(kills.iter().all(|k| k.sidecar < 8));
    }

    #[test]
    fn a_seed_repeats_its_kills() {
        let kills = |seed| Schedule::new(5, 1000, 3, seed).kills;
        assert_eq!(kills(1), kills(1));
        assert_ne!(kills(1), kills(2));
    }

    #[test]
    fn several_kills_may_be_due_at_once() {
        let mut schedule = Schedule::new(3, 100, 1, 1);
        assert!(schedule.due(4).is_none());
        for _ in 0..3 {
            assert!(schedule.due(100).is_some());
        }
        assert!(schedule.due(100).is_none());
    }
}
