//! A line that waits for its verdict: the few facts of it that the rules need.

use model::ids::TraceId;
use model::line::{Dialect, LineFacts, NameKey};

use crate::callmap::{CallMap, Reach};
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
    /// It carries its own trace id.
    Own(TraceId),
    /// The access line of one request.
    Access(Box<Access>),
    /// A printed line.
    Printed(Box<Printed>),
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
    pub(crate) names: Vec<(NameKey, Box<str>)>,
    /// Whether the statement adds to a new `AppContext`.
    pub(crate) creates_context: bool,
    /// Whether it is the first statement of an RPC handler, naming the `AppContext`s it acts on.
    pub(crate) receipt: bool,
    /// Whether a worker says that its `AppContext`'s queue is empty.
    pub(crate) worker_done: bool,
}

const RECEIPT: &str = "GRPC Server received ";
const WORKER_DONE: &str = "Done Processing - no new messages";

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
            None => What::Printed(Box::new(Printed {
                reach: reach(facts, map),
                receipt: facts.site.is_none() && facts.message.starts_with(RECEIPT),
                worker_done: facts.message.starts_with(WORKER_DONE),
                creates_context: facts.site.is_some_and(|site| {
                    let reach = reach(facts, map);
                    let builds = |builder: &&str| site.function.starts_with(*builder);
                    reach.asyncs == 0 && BUILDERS.iter().any(builds)
                }),
                names: facts
                    .names
                    .iter()
                    .map(|name| (name.key, name.value.into()))
                    .collect(),
            })),
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

fn reach(facts: &LineFacts<'_>, map: Option<&CallMap>) -> Reach {
    let known = map.and_then(|map| match (&facts.site, facts.dialect) {
        (Some(site), _) => map.site(site),
        (None, Dialect::GoLog | Dialect::Unknown | Dialect::Logrus) => map.text(facts.message),
        _ => None,
    });
    known.unwrap_or(Reach::UNKNOWN)
}
