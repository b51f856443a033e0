//! Which person made which requests, as the first-hop proxies said.
//!
//! A trace id is chosen by its caller, so it proves nothing by itself: whoever learns of one may use
//! it again. What is proven is a request that the proxy saw: it began then, ended then, was made by
//! that person, and what runs inside it can be theirs.
//!
//! ```text
//! Alice's request at the proxy   ├──────────────────────┤
//! on the same trace, here          ├────────┤                     hers
//!                                               ├───────────┤     not hers: it goes on after her
//!                                                    ├──── …      not hers: nobody said how it ends
//! ```
//!
//! Somebody else may use the trace at the same time: around the proxy, or with a record that comes
//! when they are done. Where that cannot be ([`TraceUser::exclusive`]), all that lies inside is hers;
//! elsewhere only what begins and ends with her request, because the record of anybody else's that
//! ended then would be here as well.

use std::collections::{HashMap, VecDeque};

use model::fact::TraceUser;
use model::ids::TraceId;
use model::verdict::User;

/// Traces remembered; the oldest are forgotten first.
const TRACES_MAX: usize = 65_536;
/// Requests remembered of one trace, the newest ones.
const REQUESTS_MAX: usize = 16;

/// The table of people.
#[derive(Debug)]
pub(crate) struct People {
    by_trace: HashMap<TraceId, Known>,
    order: VecDeque<TraceId>,
    /// How far times of the proxies may lie apart for what is one moment.
    error: u64,
}

/// What is known of a trace.
#[derive(Debug)]
enum Known {
    /// All its requests that were told of are of this person.
    Person(User, VecDeque<Made>),
    /// Two people used it: nobody, for good.
    Conflict,
}

/// A request that the person made.
#[derive(Clone, Copy, Debug)]
struct Made {
    from: u64,
    until: u64,
    exclusive: bool,
}

impl People {
    /// `error`: how far times of two proxies may lie apart for what is one moment.
    pub(crate) fn new(error: u64) -> Self {
        Self {
            by_trace: HashMap::new(),
            order: VecDeque::new(),
            error,
        }
    }

    /// Takes a statement; a second, different person for a trace is a conflict for good.
    pub(crate) fn learn(&mut self, fact: &TraceUser) {
        let made = Made {
            from: fact.at.0,
            until: fact.until.0,
            exclusive: fact.exclusive,
        };
        match self.by_trace.get_mut(&fact.trace) {
            None => {
                let known = Known::Person(fact.user.clone(), VecDeque::from([made]));
                self.insert(fact.trace, known);
            }
            Some(Known::Person(user, requests)) if user.id == fact.user.id => {
                user.source = user.source.min(fact.user.source);
                add(requests, made);
            }
            Some(known) => *known = Known::Conflict,
        }
    }

    /// Marks a trace as contradicted (another replica knows of two people).
    pub(crate) fn conflict(&mut self, trace: TraceId) {
        self.insert(trace, Known::Conflict);
    }

    fn insert(&mut self, trace: TraceId, known: Known) {
        if self.by_trace.insert(trace, known).is_none() {
            self.order.push_back(trace);
        }
        while self.order.len() > TRACES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.by_trace.remove(&oldest);
            }
        }
    }

    /// Whether a first-hop proxy saw the trace begin.
    pub(crate) fn knows(&self, trace: TraceId) -> bool {
        self.by_trace.contains_key(&trace)
    }

    /// The person who made the request that was at work here on `trace` from `from` to `to`
    /// (`u64::MAX` while it is), if that is proven and not contradicted.
    pub(crate) fn of(&self, trace: TraceId, from: u64, to: u64) -> Option<&User> {
        let Some(Known::Person(user, requests)) = self.by_trace.get(&trace) else {
            return None;
        };
        let mut requests = requests.iter();
        requests
            .any(|made| made.holds(from, to, self.error))
            .then_some(user)
    }
}

/// Adds a request, or what is new about a known one.
fn add(requests: &mut VecDeque<Made>, made: Made) {
    if let Some(known) = requests.iter_mut().find(|known| known.from == made.from) {
        known.until = known.until.min(made.until);
        known.exclusive |= made.exclusive;
        return;
    }
    if requests.len() >= REQUESTS_MAX {
        requests.pop_front();
    }
    requests.push_back(made);
}

impl Made {
    /// Whether what ran from `from` to `to` can only be this request, or a part of it.
    fn holds(self, from: u64, to: u64, error: u64) -> bool {
        let inside = self.from <= from.saturating_add(error)
            && (to <= self.until.saturating_add(error) || self.until == u64::MAX);
        let all_of_it = from <= self.from.saturating_add(error)
            && (self.until <= to.saturating_add(error) || self.until == u64::MAX);
        inside && (self.exclusive || all_of_it)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::time::UnixNanos;
    use model::verdict::UserSource;

    use super::*;

    const TRACE: TraceId = TraceId([1; 16]);
    const RUNS: u64 = u64::MAX;

    fn said(user: &str, from: u64, until: u64, exclusive: bool) -> TraceUser {
        TraceUser {
            trace: TRACE,
            user: User {
                id: Arc::from(user),
                source: UserSource::Gateway,
            },
            at: UnixNanos(from),
            until: UnixNanos(until),
            exclusive,
        }
    }

    fn people(said: &[TraceUser]) -> People {
        let mut people = People::new(10);
        for fact in said {
            people.learn(fact);
        }
        people
    }

    fn of(people: &People, from: u64, to: u64) -> Option<&str> {
        people.of(TRACE, from, to).map(|user| &*user.id)
    }

    #[test]
    fn only_what_ran_inside_a_request_is_its_makers() {
        let people = people(&[said("alice", 1000, 2000, true)]);
        assert_eq!(of(&people, 990, 2010), Some("alice"));
        assert_eq!(of(&people, 1500, 1600), Some("alice"));
        for (from, to) in [
            (989, 1500),
            (1500, 2011),
            (1500, RUNS),
            (2500, 2600),
            (0, 1),
        ] {
            assert_eq!(of(&people, from, to), None, "{from}..{to}");
        }
    }

    #[test]
    fn where_others_are_told_of_late_only_the_request_itself_is_proven() {
        let people = people(&[said("alice", 1000, 2000, false)]);
        assert_eq!(of(&people, 1008, 1995), Some("alice"));
        assert_eq!(of(&people, 1500, 1600), None, "may be a part of another's");
        assert_eq!(of(&people, 1005, 1600), None);
    }

    #[test]
    fn a_request_that_runs_ends_when_that_is_told_in_any_order() {
        let runs = said("alice", 1000, RUNS, true);
        let ended = said("alice", 1000, 2000, false);
        assert_eq!(
            of(&people(std::slice::from_ref(&runs)), 3000, RUNS),
            Some("alice")
        );
        for order in [[&runs, &ended], [&ended, &runs]] {
            let people = people(&order.map(Clone::clone));
            assert_eq!(of(&people, 1500, 1600), Some("alice"));
            assert_eq!(of(&people, 3000, RUNS), None);
        }
    }

    #[test]
    fn a_request_that_runs_is_what_began_with_it_unless_nobody_else_can_be_there() {
        let people = people(&[said("alice", 1000, RUNS, false)]);
        assert_eq!(of(&people, 1008, RUNS), Some("alice"));
        assert_eq!(
            of(&people, 1008, 1500),
            Some("alice"),
            "the end is not told yet"
        );
        assert_eq!(of(&people, 1500, 1600), None);
        assert_eq!(of(&people, 500, RUNS), None);
    }

    #[test]
    fn requests_do_not_add_up() {
        let people = people(&[
            said("alice", 1000, 2000, true),
            said("alice", 2000, 3000, true),
        ]);
        assert_eq!(of(&people, 2500, 2600), Some("alice"));
        assert_eq!(of(&people, 1500, 2500), None);
    }

    #[test]
    fn two_people_are_nobody_for_good() {
        let alice = said("alice", 1000, 2000, true);
        let mut people = people(&[alice.clone(), said("bob", 5000, 6000, true)]);
        assert_eq!(of(&people, 1500, 1600), None);
        people.learn(&alice);
        assert_eq!(of(&people, 1500, 1600), None);
        people.conflict(TraceId([2; 16]));
        assert!(people.knows(TRACE) && people.knows(TraceId([2; 16])));
    }

    #[test]
    fn what_was_not_told_to_end_proves_a_moment() {
        let people = people(&[said("alice", 1000, 1000, false)]);
        assert_eq!(of(&people, 1500, RUNS), None);
        assert_eq!(of(&people, 1000, 1500), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut people = People::new(0);
        for at in 0..100 {
            people.learn(&said("alice", at * 10, at * 10 + 5, true));
        }
        assert_eq!(of(&people, 0, 5), None);
        assert_eq!(of(&people, 990, 995), Some("alice"));
        for number in 0..=TRACES_MAX as u64 {
            let mut id = [7; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            people.conflict(TraceId(id));
        }
        assert!(!people.knows(TRACE) && people.order.len() == TRACES_MAX);
    }
}
