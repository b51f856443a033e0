//! The exclusions.

use model::ids::{SpanId, TraceId};
use model::line::NameKey;
use model::verdict::{CANDIDATES_MAX, Outcome, Rule, User, Verdict};

use crate::access_lines::is_access_of;
use crate::callmap::{CallMap, Reach, bit};
use crate::line::{Printed, Step, Waiting, What};
use crate::makers;
use crate::origin::{Kind, NO_ENTRY, Origin};
use crate::owners;
use crate::starts::{Receipt, Start};
use crate::state::State;
use crate::workers;

/// A request has ended its first call so long after it printed its first line (28 ms was seen).
const FIRST_CALL: u64 = 250_000_000;

/// An origin that is still possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// A request, by row.
    Request(usize),
    /// Asynchronous work of the request that owns the trace.
    Async(TraceId),
    /// Work that no request caused.
    Background,
    /// Something of which there is no evidence (a gap, an invisible request, an unknown trace).
    Unseen,
}

/// Decides a printed line.
pub(crate) fn printed(
    state: &mut State,
    line: &Waiting,
    printed: &Printed,
) -> (Verdict, Option<usize>) {
    let mut candidates = std::mem::take(&mut state.candidates);
    candidates.clear();
    let mut rule = possible(state, line, printed, &mut candidates);
    if apply_tokens(state, line, printed, &mut candidates) {
        rule = match rule {
            Rule::Gap => Rule::Gap,
            _ => Rule::Token,
        };
    }
    if makers::apply(state, printed, &mut candidates) && rule != Rule::Gap {
        rule = Rule::AppContext;
    }
    learn_tokens(state, printed, &candidates);
    learn_contexts(state, line, printed, &candidates);
    owners::learn(state, line, printed, &candidates);
    let (verdict, row) = conclude(state, line, &candidates, rule);
    if let Some(trace) = verdict.trace {
        makers::note(state, line, printed, trace);
    }
    state.candidates = candidates;
    (verdict, row)
}

/// Finds every origin that is still possible; answers the strongest exclusion that was needed.
fn possible(
    state: &State,
    line: &Waiting,
    printed: &Printed,
    candidates: &mut Vec<Candidate>,
) -> Rule {
    let mut rule = Rule::Time;
    let mut struck = |by: Rule| {
        if strength(by) > strength(rule) {
            rule = by;
        }
    };
    for (row, origin) in state.window() {
        if !origin.maybe_open(line) {
            continue;
        }
        match candidate(state, row, origin, line, printed) {
            Ok(candidate) => candidates.push(candidate),
            Err(by) => struck(by),
        }
    }
    without_span(state, line, printed, &mut struck, candidates);
    let hidden = hides_requests(state, line, printed.reach);
    if state.in_gap(line) || hidden || is_beside_invisible(state, line, printed.reach) {
        candidates.push(Candidate::Unseen);
        rule = Rule::Gap;
    }
    rule
}

/// Whether a request may have been at work of which nothing has come yet: one that nobody tells of when
/// it begins, and that has shown no span since, or that sends none.
fn hides_requests(state: &State, line: &Waiting, reach: Reach) -> bool {
    let proxied = &state.origins.proxied;
    let late = || !workers::all_seen(state, line.time.saturating_add(FIRST_CALL));
    let hidden = if state.start_records {
        // those that come around the proxy
        proxied.bypassed() && state.spans_are_late() && late()
    } else {
        late() || proxied.hides() || (state.end_records && proxied.samples())
    };
    hidden && reach.entries | joined_entries(state.map.as_ref(), reach) != 0
}

/// Whether the line was printed while a request ran that only its access line tells of.
fn is_beside_invisible(state: &State, line: &Waiting, reach: Reach) -> bool {
    let from = line.time.saturating_sub(line.slack);
    let by_request = reach.entries | joined_entries(state.map.as_ref(), reach) != 0;
    let invisible = |other: &Waiting| match &other.what {
        What::Access(access) => {
            access.started <= line.time
                && from <= other.time
                && !state
                    .window()
                    .any(|(_, row)| is_access_of(row, other, access))
        }
        _ => false,
    };
    by_request && state.access_lines.iter().any(invisible)
}

/// Strikes out whoever cannot own the line's tokens; answers whether that changed anything.
fn apply_tokens(
    state: &State,
    line: &Waiting,
    printed: &Printed,
    candidates: &mut Vec<Candidate>,
) -> bool {
    let before = candidates.len();
    for (key, value) in printed.names.iter() {
        let Some(owners) = state.tokens.owners(key, value) else {
            continue;
        };
        let exclusive = match key {
            NameKey::Token => true,
            // until its maker has ended, nobody else can know the id of a new AppContext
            NameKey::AppContext => owners.iter().all(|owner| {
                let mut rows = state.origins.of_trace(*owner);
                rows.any(|(_, origin)| origin.open_at(line.time))
            }),
            _ => false,
        };
        let owns = |candidate: &Candidate| match candidate.trace(state) {
            Some(trace) => owners.contains(&trace),
            None => false,
        };
        if exclusive && candidates.iter().any(owns) {
            candidates.retain(owns);
        } else if key == NameKey::AppContext {
            // a goroutine works on the AppContext that its own request made
            let own = |candidate: &Candidate| {
                !matches!(candidate, Candidate::Async(_)) || owns(candidate)
            };
            candidates.retain(own);
        }
    }
    candidates.len() < before
}

/// Remembers whose the line's tokens can be.
fn learn_tokens(state: &mut State, printed: &Printed, candidates: &[Candidate]) {
    let tokens = |(key, _): &(NameKey, &str)| match key {
        NameKey::Token => true,
        NameKey::AppContext => printed.creates_context,
        _ => false,
    };
    if !printed.names.iter().any(|name| tokens(&name)) {
        return;
    }
    let traces: Option<Vec<TraceId>> = candidates
        .iter()
        .map(|candidate| candidate.trace(state))
        .collect();
    let Some(traces) = traces.filter(|traces| !traces.is_empty()) else {
        return;
    };
    for (key, value) in printed.names.iter().filter(tokens) {
        state.tokens.narrow(key, value, &traces);
    }
}

/// Remembers on which `AppContext`s a request acts, and when a worker is done.
fn learn_contexts(state: &mut State, line: &Waiting, printed: &Printed, candidates: &[Candidate]) {
    let contexts = printed
        .names
        .iter()
        .filter(|(key, _)| *key == NameKey::AppContext)
        .map(|(_, context)| Box::from(context));
    if printed.receipt {
        let requests: Option<Vec<TraceId>> = candidates
            .iter()
            .map(|candidate| match candidate {
                Candidate::Request(_) => candidate.trace(state),
                _ => None,
            })
            .collect();
        let receipt = Receipt {
            from: line.time.saturating_sub(line.slack),
            to: line.time,
            entries: printed.reach.entries,
            contexts: contexts.collect(),
        };
        let updates = state
            .map
            .as_ref()
            .is_some_and(|map| map.updates(receipt.entries));
        state.starts.receive(receipt, requests.as_deref(), updates);
    } else if printed.step == Step::Finishes {
        for context in contexts {
            workers::finished(state, &context, line.time);
        }
        workers::settle(state);
    }
}

impl Candidate {
    /// The trace it belongs to, if it has one.
    pub(crate) fn trace(self, state: &State) -> Option<TraceId> {
        match self {
            Self::Request(row) => state.origins.rows().get(row)?.trace,
            Self::Async(trace) => Some(trace),
            Self::Background | Self::Unseen => None,
        }
    }
}

/// How much of an argument a rule is: the strongest one that was needed is named.
fn strength(rule: Rule) -> u8 {
    match rule {
        Rule::Blocked => 1,
        Rule::CodePosition => 2,
        Rule::NeverStarted => 3,
        Rule::Names => 4,
        Rule::Token => 5,
        Rule::AppContext => 6,
        Rule::Gap => 7,
        _ => 0,
    }
}

/// Whether an origin that was open at the line's time can have printed it; else what strikes it out.
fn candidate(
    state: &State,
    row: usize,
    origin: &Origin,
    line: &Waiting,
    printed: &Printed,
) -> Result<Candidate, Rule> {
    let reach = printed.reach;
    let kind = state.kind_at(origin, line.time, Some(reach));
    if !can_reach(state, kind, reach) {
        return Err(Rule::CodePosition);
    }
    let silenced = origin.blocked(line.time.saturating_sub(line.slack), line.time);
    if silenced && !elsewhere(state, kind, reach) {
        return Err(Rule::Blocked);
    }
    if printed
        .names
        .iter()
        .any(|(key, value)| origin.contradicts(key, value))
    {
        return Err(Rule::Names);
    }
    // the first statement of a handler comes before its first call
    if printed.receipt && origin.first_call < line.time.saturating_sub(line.slack) {
        return Err(Rule::CodePosition);
    }
    if !state.forgot_starts() && acts_on_another(state, origin, printed) {
        return Err(Rule::AppContext);
    }
    Ok(match kind {
        Kind::Request { entry, .. } if state.is_loose(entry, origin) => Candidate::Unseen,
        Kind::Request { .. } => Candidate::Request(row),
        Kind::Unknown => Candidate::Unseen,
        Kind::Root(roots) => match state.map.as_ref() {
            Some(map) if map.roots(roots).all(|(_, root)| root.started_by == 0) => {
                Candidate::Background
            }
            // whose request it may be is asked of the requests that start it
            Some(_) => return Err(Rule::NeverStarted),
            None => Candidate::Unseen,
        },
    })
}

/// Whether the line names an `AppContext` and the request acts on others only.
fn acts_on_another(state: &State, origin: &Origin, printed: &Printed) -> bool {
    let is_context = |(key, _): (NameKey, &str)| key == NameKey::AppContext;
    if printed.receipt || !printed.names.iter().any(is_context) {
        return false;
    }
    let span = origin.span.filter(|_| origin.complete);
    let start = origin.trace.and_then(|trace| state.starts.of(trace, span));
    start.is_some_and(|start| !state.starts.may_name(start, &printed.names))
}

/// Whether the statement can also run on another goroutine of the same origin, so that being inside
/// a client span does not silence it.
fn elsewhere(state: &State, kind: Kind, reach: Reach) -> bool {
    let Some(map) = &state.map else { return true };
    match kind {
        Kind::Request { entry, .. } => map
            .roots(reach.asyncs)
            .any(|(_, root)| root.started_by & bit(entry) != 0),
        Kind::Root(_) | Kind::Unknown => false,
    }
}

fn can_reach(state: &State, kind: Kind, reach: Reach) -> bool {
    match kind {
        Kind::Request { entry, routed } => {
            if state.map.is_none() {
                return true;
            }
            let joined = joined_entries(state.map.as_ref(), reach);
            routed && entry != NO_ENTRY && (reach.entries | joined) & bit(entry) != 0
        }
        Kind::Root(roots) => (reach.background | reach.asyncs) & roots != 0,
        Kind::Unknown => reach.entries != 0 || reach.background | reach.asyncs != 0,
    }
}

/// Entries whose own goroutine waits for the goroutines that reach the statement.
fn joined_entries(map: Option<&CallMap>, reach: Reach) -> u128 {
    let Some(map) = map else { return u128::MAX };
    map.roots(reach.asyncs)
        .filter(|(_, root)| root.joined)
        .fold(0, |set, (_, root)| set | root.started_by)
}

/// Origins that have no span of their own: start-up, loops, goroutines that requests started.
fn without_span(
    state: &State,
    line: &Waiting,
    printed: &Printed,
    struck: &mut impl FnMut(Rule),
    left: &mut Vec<Candidate>,
) {
    let reach = printed.reach;
    if reach.startup && state.starting_up(line.time) {
        left.push(Candidate::Background);
    }
    let Some(map) = &state.map else {
        left.push(Candidate::Unseen);
        return;
    };
    for (_, root) in map.roots(reach.background) {
        let possible = match root.name {
            // works inside root spans only, which are origins of their own
            "metrics.Start.func1" => false,
            // runs once, at start-up
            "db.(*MongoStore).ReadRefSchema" => state.just_started(line.time),
            _ => root.started_by == 0,
        };
        if possible {
            left.push(Candidate::Background);
        }
    }
    let detached = map.roots(reach.asyncs).filter(|(_, root)| !root.joined);
    let detached = detached.fold(0, |set, (id, _)| set | 1 << id);
    if detached == 0 {
        return;
    }
    let (owners, rule) = owners::owners(state, line, printed, detached);
    struck(rule);
    left.extend(owners);
}

/// Turns what is left into a verdict; answers the row it belongs to as well.
pub(crate) fn conclude(
    state: &State,
    line: &Waiting,
    candidates: &[Candidate],
    rule: Rule,
) -> (Verdict, Option<usize>) {
    let mut first: Option<TraceId> = None;
    let mut others: Vec<TraceId> = Vec::new();
    let mut row = None;
    let mut untraced = 0_usize;
    let mut background = false;
    let mut unseen = false;
    for candidate in candidates {
        let trace = match candidate {
            Candidate::Background => {
                background = true;
                continue;
            }
            Candidate::Unseen => {
                unseen = true;
                continue;
            }
            Candidate::Async(trace) => Some(*trace),
            Candidate::Request(index) => {
                row = row.or(Some(*index));
                state
                    .origins
                    .rows()
                    .get(*index)
                    .and_then(|origin| origin.trace)
            }
        };
        match (trace, first) {
            (Some(trace), None) => first = Some(trace),
            (Some(trace), Some(first)) if trace == first || others.contains(&trace) => {}
            (Some(trace), Some(_)) => others.push(trace),
            (None, _) => untraced += 1,
        }
    }
    let alone = others.is_empty() && untraced == 0;
    let verdict = match (first, alone, background, unseen) {
        (None, true, true, false) => Verdict {
            outcome: Outcome::Background,
            rule: Rule::BackgroundSite,
            ..Verdict::default()
        },
        (Some(trace), true, false, false) => {
            let row = row.filter(|_| candidates.len() == 1);
            let span = row.and_then(|row| state.origins.rows().get(row)?.span);
            let user = person(state, line, candidates, trace);
            attributed((trace, span), user, rule)
        }
        (None, true, false, _) => Verdict {
            rule: if unseen { Rule::Gap } else { Rule::None },
            ..Verdict::default()
        },
        _ => Verdict {
            outcome: Outcome::Ambiguous,
            rule: if rule == Rule::Gap {
                Rule::Gap
            } else {
                Rule::None
            },
            candidates: first
                .into_iter()
                .chain(others)
                .take(CANDIDATES_MAX)
                .collect(),
            ..Verdict::default()
        },
    };
    let row = row.filter(|_| verdict.outcome == Outcome::Attributed);
    (verdict, row)
}

/// Who made every request that is left, all of them on `trace`: somebody else's may be among them.
fn person(state: &State, line: &Waiting, candidates: &[Candidate], trace: TraceId) -> Option<User> {
    let mut person = None;
    for candidate in candidates {
        match candidate {
            Candidate::Request(row) => {
                let origin = state.origins.rows().get(*row)?;
                person = Some(state.people.of(trace, origin.start, origin.end)?);
            }
            // any of the trace's requests that had begun by then may have started it
            Candidate::Async(_) => {
                let begun = |start: &&Start| start.trace == Some(trace) && start.at <= line.time;
                for start in state.starts.rows().iter().filter(begun) {
                    person = Some(state.people.of(trace, start.at, start.until)?);
                }
            }
            Candidate::Background | Candidate::Unseen => return None,
        }
    }
    person.cloned()
}

pub(crate) fn attributed(
    (trace, span): (TraceId, Option<SpanId>),
    user: Option<User>,
    rule: Rule,
) -> Verdict {
    Verdict {
        outcome: Outcome::Attributed,
        rule,
        trace: Some(trace),
        span,
        user,
        ..Verdict::default()
    }
}
