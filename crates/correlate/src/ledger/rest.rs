//! What the ledger forgets, and how its memory goes back.

use model::time::UnixNanos;

use super::Ledger;

impl Ledger {
    /// Nothing has come for a while: what is too old goes, and what is kept takes no more room than it
    /// needs, but for the tables, which wait in rooms of another size for [`Ledger::settle`].
    ///
    /// An allocator keeps things of about one size together and gives their room back when the last of
    /// them is gone. A table among what a burst left keeps all of it.
    pub fn rest(&mut self, now: UnixNanos) {
        self.prune(now);
        self.waiting.shrink_to_fit();
        self.ended.shrink_to_fit();
        self.spare = Vec::new();
        self.state.access_lines.shrink_to_fit();
        self.state.origins.rest();
    }

    /// The allocator has given back what was around the tables: they take no more room than they need.
    pub fn settle(&mut self) {
        self.state.origins.settle();
    }

    /// Forgets what no line can need any more.
    pub(super) fn prune(&mut self, now: UnixNanos) {
        let progress = self.progress(now);
        let keep = self.state.settings.wait.saturating_add(1_000_000_000);
        while self
            .state
            .access_lines
            .front()
            .is_some_and(|line| line.due.saturating_add(keep) < progress)
        {
            self.state.access_lines.pop_front();
        }
        let horizon = self.state.settings.horizon;
        let oldest = self.waiting.front().map_or(progress, |line| line.time);
        let past = |begun: &u64| begun.saturating_add(keep) < oldest;
        while self.state.rounds.front().is_some_and(past) {
            self.state.rounds.pop_front();
        }
        if now.0.saturating_sub(self.pruned_at) < horizon / 8 {
            return;
        }
        self.pruned_at = now.0;
        // lines that wait may be of what happened before, and requests have to be told of
        let lines = self.waiting.front().map(|line| line.time);
        let wait = self.state.settings.wait;
        let requests = self.ended.iter().map(|(due, ..)| due.saturating_sub(wait));
        let oldest = requests.chain(lines).fold(progress, u64::min);
        self.state
            .origins
            .forget_before(oldest.saturating_sub(horizon));
        self.state.starts.forget(oldest.saturating_sub(horizon));
        self.state
            .gaps
            .retain(|(_, to)| to.saturating_add(horizon) > oldest);
    }
}
