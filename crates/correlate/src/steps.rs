//! What a worker says it is doing, and which statements it can therefore not be printing.
//!
//! ```text
//! worker     round begins ─▶ … ─▶ round is over ─▶ (next round) ─▶ queue is empty
//!               └─▶ one goroutine for each cluster: announces itself, then works
//! ```
//!
//! A goroutine names its cluster and application before it prints anything else, and it begins at
//! once, unless its application waits for another. So a worker that cannot have announced a cluster
//! did not print a line about it. That holds for workers whose whole life was read, at a log level
//! at which these statements are printed.

use model::line::NameKey;

use crate::callmap::Roots;
use crate::line::{Printed, Step, Waiting};
use crate::origin::Origin;
use crate::state::State;

/// How long after a round began its goroutines may still announce themselves.
const SPAWN: u64 = 1_000_000_000;
/// How much later than its first goroutine a round may say that it has begun.
const BEGINS_LATE: u64 = 150_000_000;
/// How much later than its own time a line may have been written.
const DISORDER: u64 = 100_000_000;
/// Rounds remembered of one worker.
const ROUNDS_MAX: usize = 16;
/// Goroutines remembered of one worker; with more, everything is possible.
const ANNOUNCED_MAX: usize = 512;

/// What a worker may have said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// When rounds may have begun.
    rounds: Vec<u64>,
    /// Whether it is in a round for sure.
    in_round: bool,
    /// Whether an application may wait for another.
    waits: bool,
    /// Application and cluster of goroutines that may be its own.
    announced: Vec<(Box<str>, Box<str>)>,
}

/// Whether the worker may be where the statement is.
pub(crate) fn allow(
    state: &State,
    worker: &Origin,
    line: &Waiting,
    printed: &Printed,
    asyncs: Roots,
) -> bool {
    if !worker.calls.allow(printed.follows, line.time, line.slack) {
        return false;
    }
    if !is_followed(state, worker, line.time) {
        return true;
    }
    let nothing = Work::default();
    let work = worker.work.as_deref().unwrap_or(&nothing);
    if printed.step == Step::Begins {
        return !work.in_round;
    }
    let inside = state.stages.run | state.stages.timer;
    if asyncs & !inside != 0 || asyncs & state.stages.run == 0 {
        return true;
    }
    let on_cluster = asyncs & !(state.stages.cluster | state.stages.timer) == 0;
    if on_cluster && printed.step != Step::Announces {
        return work.announced.len() >= ANNOUNCED_MAX || work.announced(printed);
    }
    let lately = |begun: &u64| {
        *begun <= line.time && line.time.saturating_sub(line.slack) <= begun.saturating_add(SPAWN)
    };
    let soon = line.time.saturating_sub(DISORDER)..=line.time.saturating_add(BEGINS_LATE);
    work.waits
        || work.rounds.iter().any(lately)
        || !work.in_round && state.rounds.iter().any(|begun| soon.contains(begun))
}

/// Whether everything that the worker said was read.
fn is_followed(state: &State, worker: &Origin, time: u64) -> bool {
    let gap = |(from, to): &(u64, u64)| worker.start <= *to && *from <= time;
    state.told_since.is_some_and(|since| since < worker.start)
        && worker.start > state.blind_until
        && !state.forgot_starts()
        && !state.gaps.iter().any(gap)
}

/// Takes what a line says about the workers that may have printed it; `only` one if `sure`.
pub(crate) fn learn(state: &mut State, printed: &Printed, time: u64, rows: &[usize], sure: bool) {
    for row in rows {
        let Some(worker) = state.origins.row_mut(*row) else {
            continue;
        };
        let work = worker.work.get_or_insert_default();
        match printed.step {
            Step::Begins => {
                if work.rounds.len() >= ROUNDS_MAX {
                    work.rounds.remove(0);
                }
                work.rounds.push(time);
                work.in_round |= sure;
            }
            Step::Ends => work.in_round = false,
            Step::Waits => work.waits = true,
            Step::Announces => {
                let goroutine = (name(printed, NameKey::App), cluster(printed));
                let goroutine = (goroutine.0.into(), goroutine.1.into());
                let room = work.announced.len() < ANNOUNCED_MAX;
                if room && !work.announced.contains(&goroutine) {
                    work.announced.push(goroutine);
                }
            }
            Step::None | Step::Finishes => {}
        }
    }
}

impl Work {
    /// Whether a goroutine of the worker may be about what the line names.
    fn announced(&self, printed: &Printed) -> bool {
        let (app, cluster) = (name(printed, NameKey::App), cluster(printed));
        let fits = |own: &str, named: &str| own.is_empty() || named.is_empty() || own == named;
        let mut goroutines = self.announced.iter();
        goroutines.any(|own| fits(&own.0, app) && fits(&own.1, cluster))
    }
}

fn name(printed: &Printed, key: NameKey) -> &str {
    let mut names = printed.names.iter().filter(|(own, _)| *own == key);
    match (names.next(), names.next()) {
        (Some((_, name)), None) => name,
        _ => "",
    }
}

/// The bare name of the cluster that the line is about, or nothing.
fn cluster(printed: &Printed) -> &str {
    let named = name(printed, NameKey::Cluster);
    let cluster = match name(printed, NameKey::Token).strip_prefix("rsync-config-") {
        Some(file) if named.is_empty() => file.rsplit_once('-').map_or("", |(cluster, _)| cluster),
        _ => named,
    };
    cluster.rsplit_once('+').map_or(cluster, |(_, name)| name)
}
