//! A line that waits for its verdict: the few facts of it that the rules need.

use model::ids::{SpanId, TraceId};
use model::line::{Dialect, LineFacts, Name, NameKey};

use crate::callmap::{CallMap, Reach};
use crate::calls::Follows;
use crate::ledger::Ticket;

/// A waiting line.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    /// When it has to be decided.
    pub(crate) due: u64,
    /// When it was printed.
    pub(crate) time: u64,
    /// How much earlier than `time` it may really have been printed.
    pub(crate) slack: u64,
    pub(crate) what: What,
}

/// What the line is to the rules.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// It is the proxy's record of a request.
    Own(Record),
    /// The access line of one request.
    Access(Box<Access>),
    /// A printed line.
    Printed(Box<Printed>),
}

/// The facts of a proxy's record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) trace: TraceId,
    pub(crate) span: Option<SpanId>,
    /// When the request began, and when it ended as far as the record says.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The facts of a Common Log Format line.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) method: Box<str>,
    pub(crate) path: Box<str>,
    pub(crate) status: u16,
    pub(crate) started: u64,
}

/// The facts of any other line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Printed {
    pub(crate) reach: Reach,
    pub(crate) names: Names,
    /// Whether the statement adds to a new `AppContext`.
    pub(crate) creates_context: bool,
    /// Whether it is the first statement of an RPC handler, naming the `AppContext`s it acts on.
    pub(crate) receipt: bool,
    /// What a worker says about its work.
    pub(crate) step: Step,
    /// What call it directly follows, if a worker printed it.
    pub(crate) follows: Follows,
}

/// What a line names, in one piece of memory: there is one of these for every line that waits.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    values: String,
    /// Of each name its key and where its value ends.
    ends: [(NameKey, u32); NAMES_MAX],
    count: usize,
}

/// Further names of a line would only narrow more.
const NAMES_MAX: usize = 16;

impl Default for Names {
    fn default() -> Self {
        Self {
            values: String::new(),
            ends: [(NameKey::Token, 0); NAMES_MAX],
            count: 0,
        }
    }
}

impl Names {
    /// Forgets the names that were there, and keeps their memory for these.
    fn set(&mut self, names: &[Name<'_>]) {
        self.values.clear();
        for (end, name) in self.ends.iter_mut().zip(names) {
            self.values.push_str(name.value);
            *end = (
                name.key,
                u32::try_from(self.values.len()).unwrap_or(u32::MAX),
            );
        }
        self.count = names.len().min(NAMES_MAX);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NameKey, &str)> {
        let mut from = 0;
        self.ends.iter().take(self.count).map(move |(key, end)| {
            let end = *end as usize;
            let value = self.values.get(from..end).unwrap_or_default();
            from = end;
            (*key, value)
        })
    }
}

/// What a worker says about its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    #[default]
    None,
    /// It works on an event now.
    Begins,
    /// The event is done.
    Ends,
    /// A goroutine of it begins with an application on a cluster.
    Announces,
    /// An application waits for another.
    Waits,
    /// Its `AppContext`'s queue is empty.
    Finishes,
}

impl Step {
    fn of(message: &str) -> Self {
        if !FIRSTS.begin(message) {
            return Self::None;
        }
        let mut steps = STEPS.iter();
        let step = steps.find(|(text, _)| message.starts_with(text));
        step.map_or(Self::None, |(_, step)| *step)
    }
}

const RECEIPT: &str = "GRPC Server received ";
const STEPS: [(&str, Step); 6] = [
    ("Wait for all subtasks to complete", Step::Begins),
    ("Success all subtasks completed", Step::Ends),
    ("Failed run", Step::Ends),
    (" runCluster::", Step::Announces),
    ("WaitForDependency", Step::Waits),
    ("Done Processing - no new messages", Step::Finishes),
];

const FIRSTS: Firsts = Firsts::of(&STEPS);

/// With which letters the texts of a table begin: most messages are none of them, and that is seen at
/// their first letter.
pub(crate) struct Firsts(u128);

impl Firsts {
    pub(crate) const fn of<T>(texts: &[(&str, T)]) -> Self {
        let (mut letters, mut rest) = (0, texts);
        while let [(text, _), behind @ ..] = rest {
            if let [first @ 0..128, ..] = text.as_bytes() {
                letters |= 1 << *first;
            }
            rest = behind;
        }
        Self(letters)
    }

    /// Whether `message` begins with one of them.
    pub(crate) fn begin(&self, message: &str) -> bool {
        let first = message.as_bytes().first();
        first.is_some_and(|first| *first < 128 && self.0 >> *first & 1 == 1)
    }
}

/// Statements that are reached only while an `AppContext` is built.
const BUILDERS: [&str; 2] = [
    "appcontext.(*AppContext).Add",
    "appcontext.(*AppContext).Create",
];

/// A line without a sub-second time of its own is stamped by the reader; it was printed at most this
/// long before (99 % arrive within 35 ms).
const ARRIVAL_SLACK: u64 = 100_000_000;

impl Waiting {
    /// `not_before`: a moment at which the line was not yet written, because an earlier line of the
    /// same stream was printed then. `spare`: memory to be used again.
    pub(crate) fn new(
        ticket: Ticket,
        due: u64,
        facts: &LineFacts<'_>,
        not_before: u64,
        map: Option<&CallMap>,
        spare: Option<Box<Printed>>,
    ) -> Self {
        let arrival = facts.arrival.0;
        let (time, slack) = if facts.own_time {
            (facts.time.0, 0)
        } else {
            (
                arrival,
                ARRIVAL_SLACK.min(arrival.saturating_sub(not_before)),
            )
        };
        let what = if let Some(access) = &facts.access {
            What::Access(Box::new(Access {
                method: access.method.into(),
                path: access.path.into(),
                status: access.status,
                started: access.started.0,
            }))
        } else {
            let mut printed = spare.unwrap_or_default();
            printed.set(facts, map);
            What::Printed(printed)
        };
        Self {
            ticket,
            due,
            time,
            slack,
            what,
        }
    }
}

impl Printed {
    fn set(&mut self, facts: &LineFacts<'_>, map: Option<&CallMap>) {
        let reach = reach(facts, map);
        let builds = |builder: &&str| {
            let site = facts.site.as_ref();
            site.is_some_and(|site| site.function.starts_with(*builder))
        };
        self.reach = reach;
        self.receipt = facts.site.is_none() && facts.message.starts_with(RECEIPT);
        self.step = Step::of(facts.message);
        self.follows = Follows::of(facts.message);
        self.creates_context = reach.asyncs == 0 && BUILDERS.iter().any(builds);
        self.names.set(facts.names);
    }
}

fn reach(facts: &LineFacts<'_>, map: Option<&CallMap>) -> Reach {
    let known = map.and_then(|map| match (&facts.site, facts.dialect) {
        (Some(site), _) => map.site(site),
        (None, Dialect::GoLog | Dialect::Unknown | Dialect::Logrus) => map.text(facts.message),
        _ => None,
    });
    known.unwrap_or(Reach::UNKNOWN)
}
