//! What the client wants to know, and what it has been told. No socket; time is an argument.
//!
//! ```text
//!           ask                2 s old                horizon
//! (nothing) ───▶ fresh ───────────────────▶ standing ────────▶ forgotten
//!                  └── answered ──────────────▲ (watched: a conflict may follow)
//! ```
//! Fresh questions are asked in short polls, so that a new one is on its way at once; standing ones
//! share one long poll.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::fact::{Fact, Operation, Person, TraceUser};
use model::ids::TraceId;

use crate::wire::WireFact;

/// How long an unanswered question is asked in short polls.
pub(crate) const FRESH: Duration = Duration::from_secs(2);
/// Most requests of one trace that are remembered, the newest ones.
const MADE_MAX: usize = 16;
/// Most operations on one `AppContext` that are passed on.
const OPERATIONS_MAX: usize = 4096;

/// Something that was learned from the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Who made a request of a trace that was asked about, or that it is over.
    Made(TraceUser),
    /// Two people used the trace that was asked about: for good, also after it was known.
    Conflict(TraceId),
    /// A request that acts on an `AppContext` that was asked about.
    Operation(Operation),
}

/// What one life of a hub has told the asker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The life; 0 for none.
    pub(crate) hub: u64,
    /// Up to which change.
    pub(crate) upto: u64,
}

impl Cursor {
    pub(crate) const fn new(hub: u64, upto: u64) -> Self {
        Self { hub, upto }
    }

    /// What both have been told; nothing, if by different lives.
    pub(crate) fn meet(self, other: Option<Self>) -> Self {
        match other {
            None => self,
            Some(other) if other.hub == self.hub => Self::new(self.hub, self.upto.min(other.upto)),
            Some(_) => Self::default(),
        }
    }
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Trace(TraceId),
    AppContext(Arc<str>),
}

/// The open questions.
#[derive(Debug)]
pub(crate) struct Questions {
    open: HashMap<Subject, Entry>,
    /// In the order of asking; an entry that was asked again stands here with its older time too.
    by_age: VecDeque<(Instant, Subject)>,
    horizon: Duration,
    open_max: usize,
    counts: Counts,
    /// What those that joined the standing ones since the last look have all been told.
    floor: Option<Cursor>,
}

/// What happened since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) expired: u64,
    pub(crate) no_room: u64,
    pub(crate) contradictions: u64,
}

#[derive(Debug)]
struct Entry {
    asked: Instant,
    first_asked: Instant,
    person: Person,
    /// The person's requests.
    made: Vec<TraceUser>,
    operations: HashSet<Operation>,
    standing: bool,
}

impl Questions {
    pub(crate) fn new(open_max: usize, horizon: Duration) -> Self {
        Self {
            open: HashMap::new(),
            by_age: VecDeque::new(),
            horizon,
            open_max: open_max.max(1),
            counts: Counts::default(),
            floor: None,
        }
    }

    /// Opens a question; answers whether it is to be asked now. One that is open already is kept longer,
    /// and asked again if what is known may have ended.
    pub(crate) fn ask(&mut self, subject: Subject, now: Instant) -> bool {
        if let Some(entry) = self.open.get_mut(&subject) {
            entry.asked = now;
            // something more is at work on the trace: a request that ran may be over, which hubs tell
            // only to those who ask again
            let again = entry.standing && entry.runs();
            if again {
                entry.standing = false;
                entry.first_asked = now;
            }
            return again;
        }
        if self.open.len() >= self.open_max {
            self.forget_oldest();
        }
        self.by_age.push_back((now, subject.clone()));
        self.open.insert(
            subject,
            Entry {
                asked: now,
                first_asked: now,
                person: Person::Unknown,
                made: Vec::new(),
                operations: HashSet::new(),
                standing: false,
            },
        );
        true
    }

    /// What is to be asked in a short poll now.
    pub(crate) fn fresh(&self) -> Vec<Subject> {
        self.subjects(false)
    }

    /// What is to be asked in the long poll.
    pub(crate) fn standing(&self) -> Vec<Subject> {
        self.subjects(true)
    }

    /// After a short poll that was told up to `cursor`: those that have an answer or had their time
    /// join the standing ones. Answers how many did.
    pub(crate) fn settle(&mut self, polled: &[Subject], cursor: Cursor, now: Instant) -> usize {
        let mut joined = 0;
        for subject in polled {
            let Some(entry) = self.open.get_mut(subject) else {
                continue;
            };
            let answered = entry.person != Person::Unknown || !entry.operations.is_empty();
            if !entry.standing && (answered || now.duration_since(entry.first_asked) >= FRESH) {
                entry.standing = true;
                joined += 1;
            }
        }
        if joined > 0 {
            self.floor = Some(cursor.meet(self.floor));
        }
        joined
    }

    /// From where on the long poll has to ask again for those that joined since the last call.
    pub(crate) const fn take_floor(&mut self) -> Option<Cursor> {
        self.floor.take()
    }

    /// Takes what a hub said; answers what of it is news.
    pub(crate) fn learn(&mut self, facts: Vec<WireFact>) -> Vec<Learned> {
        facts
            .into_iter()
            .filter_map(|fact| self.learn_one(fact))
            .collect()
    }

    /// Forgets what nobody asked about for the horizon.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((at, subject)) = self.by_age.pop_front() {
            if now.duration_since(at) < self.horizon {
                self.by_age.push_front((at, subject));
                return;
            }
            let Some(entry) = self.open.get(&subject) else {
                continue;
            };
            if now.duration_since(entry.asked) < self.horizon {
                self.by_age.push_back((entry.asked, subject));
                continue;
            }
            let unanswered = entry.person == Person::Unknown && entry.operations.is_empty();
            self.counts.expired += u64::from(unanswered);
            self.open.remove(&subject);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn learn_one(&mut self, fact: WireFact) -> Option<Learned> {
        if let WireFact::Conflict { trace } = &fact {
            let trace = TraceId::parse(trace.as_bytes())?;
            let entry = self.open.get_mut(&Subject::Trace(trace))?;
            let news = entry.person != Person::Conflict;
            entry.person = Person::Conflict;
            return news.then_some(Learned::Conflict(trace));
        }
        match fact.fact()? {
            Fact::TraceUser(fact) => {
                let entry = self.open.get_mut(&Subject::Trace(fact.trace))?;
                match &entry.person {
                    Person::Unknown => entry.person = Person::Known(fact.user.clone()),
                    Person::Known(known) if known.id != fact.user.id => {
                        // Two replicas, or two lives of one, were told different people.
                        self.counts.contradictions += 1;
                        entry.person = Person::Conflict;
                        return Some(Learned::Conflict(fact.trace));
                    }
                    Person::Known(_) => {}
                    Person::Conflict => return None,
                }
                entry.makes(&fact).then_some(Learned::Made(fact))
            }
            Fact::Operation(operation) => {
                let subject = Subject::AppContext(Arc::clone(&operation.app_context));
                let entry = self.open.get_mut(&subject)?;
                let news = entry.operations.len() < OPERATIONS_MAX
                    && entry.operations.insert(operation.clone());
                news.then_some(Learned::Operation(operation))
            }
        }
    }

    fn subjects(&self, standing: bool) -> Vec<Subject> {
        // What is in conflict stays so: there is nothing more to learn.
        self.open
            .iter()
            .filter(|(_, entry)| entry.standing == standing && entry.person != Person::Conflict)
            .map(|(subject, _)| subject.clone())
            .collect()
    }

    fn forget_oldest(&mut self) {
        while let Some((_, subject)) = self.by_age.pop_front() {
            if self.open.remove(&subject).is_some() {
                self.counts.no_room += 1;
                return;
            }
        }
    }
}

impl Entry {
    /// Whether a request that is known may still run.
    fn runs(&self) -> bool {
        let mut made = self.made.iter();
        made.any(|made| made.until == TraceUser::RUNS)
    }

    /// Notes a request; answers whether that is news.
    fn makes(&mut self, fact: &TraceUser) -> bool {
        let same = |known: &&mut TraceUser| known.at == fact.at;
        if let Some(known) = self.made.iter_mut().find(same) {
            let news = fact.until < known.until || fact.exclusive && !known.exclusive;
            known.until = known.until.min(fact.until);
            known.exclusive |= fact.exclusive;
            return news;
        }
        if self.made.len() >= MADE_MAX {
            self.made.remove(0);
        }
        self.made.push(fact.clone());
        true
    }
}
