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
#[derive(Clone, Debug)]
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
    values: Box<str>,
    /// Of each name its key and where its value ends.
    ends: [(NameKey, u32); NAMES_MAX],
    count: usize,
}

/// Further names of a line would only narrow more.
const NAMES_MAX: usize = 16;

impl Names {
    fn of(names: &[Name<'_>]) -> Self {
        let mut ends = [(NameKey::Token, 0); NAMES_MAX];
        let mut values = String::with_capacity(names.iter().map(|name| name.value.len()).sum());
        for (end, name) in ends.iter_mut().zip(names) {
            values.push_str(name.value);
            *end = (name.key, u32::try_from(values.len()).unwrap_or(u32::MAX));
        }
        Self {
            values: values.into_boxed_str(),
            ends,
            count: names.len().min(NAMES_MAX),
        }
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
    /// same stream was printed then.
    pub(crate) fn new(
        ticket: Ticket,
        due: u64,
        facts: &LineFacts<'_>,
        not_before: u64,
        map: Option<&CallMap>,
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
        let what = match &facts.access {
            Some(access) => What::Access(Box::new(Access {
                method: access.method.into(),
                path: access.path.into(),
                status: access.status,
                started: access.started.0,
            })),
            None => What::Printed(Box::new(printed(facts, map))),
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

fn printed(facts: &LineFacts<'_>, map: Option<&CallMap>) -> Printed {
    let reach = reach(facts, map);
    let builds = |builder: &&str| {
        let site = facts.site.as_ref();
        site.is_some_and(|site| site.function.starts_with(*builder))
    };
    Printed {
        reach,
        receipt: facts.site.is_none() && facts.message.starts_with(RECEIPT),
        step: Step::of(facts.message),
        follows: Follows::of(facts.message),
        creates_context: reach.asyncs == 0 && BUILDERS.iter().any(builds),
        names: Names::of(facts.names),
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
