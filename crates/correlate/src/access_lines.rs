//! Access lines (Common Log Format): whose they are, and what they prove.

use model::verdict::{Rule, Verdict};

use crate::decide::{Candidate, conclude};
use crate::line::{Access, Waiting, What};
use crate::origin::{Kind, Origin};
use crate::state::State;

/// Decides an access line: the request with that method, path and status that just ended.
///
/// Every request that ends prints exactly one access line. So a line is a request's for sure when no
/// other line can be that request's; that there are more lines than requests only proves that there
/// was a request of which nobody told.
pub(crate) fn decide(
    state: &mut State,
    line: &Waiting,
    access: &Access,
) -> (Verdict, Option<usize>) {
    let fits = rows_of(state, line, access);
    // beside others, a request whose status is not known may fit by chance
    let told = |row: &usize| fits.len() == 1 || state.origins.status(*row) != 0;
    let sure: Vec<usize> = fits
        .iter()
        .copied()
        .filter(told)
        .filter(|row| others(state, *row, line).all(|other| is_explained(state, other, *row)))
        .collect();
    let unknown =
        |(_, origin): (usize, &Origin)| origin.kind == Kind::Unknown && origin.maybe_open(line);
    let unseen = state.in_gap(line) || state.window().any(unknown);
    if fits.is_empty() && !unseen && is_routed(state, access) {
        state.origins.proxied.hidden();
    }
    let candidates: Vec<Candidate> = match (sure.as_slice(), fits.as_slice()) {
        ([row], _) => vec![Candidate::Request(*row)],
        (_, []) if unseen => vec![Candidate::Unseen],
        _ => {
            let requests = fits.iter().map(|row| Candidate::Request(*row));
            requests
                .chain((!fits.is_empty()).then_some(Candidate::Unseen))
                .collect()
        }
    };
    conclude(state, line, &candidates, Rule::AccessLine)
}

/// Whether a handler served it, which sends a span if requests do.
fn is_routed(state: &State, access: &Access) -> bool {
    let map = state.map.as_ref();
    map.is_none_or(|map| map.route(&access.method, &access.path).is_some())
}

/// The requests that the access line can be of.
fn rows_of(state: &State, line: &Waiting, access: &Access) -> Vec<usize> {
    let fits = |(_, origin): &(usize, &Origin)| is_access_of(origin, line, access);
    let rows = state.window().filter(fits);
    rows.map(|(row, _)| row).collect()
}

/// The other access lines that fit the request in that row.
fn others<'a>(state: &'a State, row: usize, line: &Waiting) -> impl Iterator<Item = &'a Waiting> {
    let origin = state.origins.rows().get(row);
    let ticket = line.ticket;
    state
        .access_lines
        .iter()
        .filter(move |other| match (&other.what, origin) {
            (What::Access(access), Some(origin)) => {
                other.ticket != ticket && is_access_of(origin, other, access)
            }
            _ => false,
        })
}

/// Whether the access line must be of another request than the one in `row`: of one that no other
/// line can be of.
fn is_explained(state: &State, line: &Waiting, row: usize) -> bool {
    let What::Access(access) = &line.what else {
        return false;
    };
    let rows = rows_of(state, line, access);
    rows.into_iter()
        .any(|other| other != row && others(state, other, line).next().is_none())
}

/// The handler's end and its access line are this far apart at most.
const ACCESS_LINE_DELAY: u64 = 150_000_000;

pub(crate) fn is_access_of(origin: &Origin, line: &Waiting, access: &Access) -> bool {
    let Some(request) = &origin.request else {
        return false;
    };
    if origin.end == u64::MAX
        || request.grpc
        || (request.status != 0 && request.status != access.status)
    {
        return false;
    }
    // the line's one-second stamp is the handler's start, truncated
    let starts = origin.start < access.started.saturating_add(1_000_000_000)
        && access.started <= request.start.saturating_add(50_000_000);
    let ended = origin.end.min(request.end.max(origin.start));
    let ends = ended <= line.time.saturating_add(5_000_000)
        && line.time <= origin.end.saturating_add(ACCESS_LINE_DELAY);
    let same_path = |one: &str, other: &str| {
        let plain = |path: &'_ str| path.find('?').unwrap_or(path.len());
        if request.path_exact {
            return one == other;
        }
        let (one, other) = (one.get(..plain(one)), other.get(..plain(other)));
        one.zip(other)
            .is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
    };
    starts
        && ends
        && origin.start <= line.time
        && request.method.eq_ignore_ascii_case(&access.method)
        && same_path(&request.path, &access.path)
}
