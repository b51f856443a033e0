//! From a pod, as the API server tells of it, to its standing: no runtime, no clock, no socket.
//!
//! ```text
//! ended, ending ──▶ nothing
//! no sidecar    ──▶ what the injector would do now: missing, refused, opted_out, not_ours
//! a sidecar     ──▶ does not run: stuck if EMCO waits for it, failing if not
//!                   not asked for any more: opted_out, not_ours
//!                   another image, other settings: outdated
//!                   else: current
//! ```

use serde::Serialize;
use serde_json::Value;

use super::configuration::leads;
use super::step;
use super::trouble::{Trouble, image_of};
use crate::inject::{self, Decision, Note, Reason, Settings, Status, Surroundings, eject, review};

/// What a pod is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// How pods get their sidecar.
    pub settings: &'a Settings,
    /// Where the pod runs.
    pub surroundings: &'a Surroundings,
    /// The image that sidecars should have; without one their version is compared with ours.
    pub image: Option<&'a str>,
    /// Whether settings and surroundings are just those of the injector, so that another sidecar
    /// than they would give is an old one.
    pub exact: bool,
    /// EMCO's own configuration in this pod, if it is known.
    pub configuration: Option<&'a Value>,
}

/// How it stands with the sidecar of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has the one that it should have.
    Current,
    /// It has another one than it should have.
    Outdated,
    /// It should have one and has none.
    Missing,
    /// What we put in keeps EMCO from starting.
    Stuck,
    /// The sidecar does not run, EMCO does.
    Failing,
    /// It should have one and cannot.
    Refused,
    /// It says that it wants none.
    OptedOut,
    /// It is not EMCO's, or nobody asks for a sidecar.
    NotOurs,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Current,
        Self::Outdated,
        Self::Missing,
        Self::Stuck,
        Self::Failing,
        Self::Refused,
        Self::OptedOut,
        Self::NotOurs,
    ];

    /// A word for metrics and reports.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Outdated => "outdated",
            Self::Missing => "missing",
            Self::Stuck => "stuck",
            Self::Failing => "failing",
            Self::Refused => "refused",
            Self::OptedOut => "opted_out",
            Self::NotOurs => "not_ours",
        }
    }

    /// The reason of the Event that tells operators of it; nothing if it is as it should be.
    pub const fn event(self) -> Option<&'static str> {
        match self {
            Self::Outdated => Some("SidecarOutdated"),
            Self::Missing => Some("SidecarMissing"),
            Self::Stuck => Some("SidecarStuck"),
            Self::Failing => Some("SidecarFailing"),
            Self::Refused => Some("SidecarSkipped"),
            Self::Current | Self::OptedOut | Self::NotOurs => None,
        }
    }
}

/// Where the lines of a pod come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lines {
    /// The node's files.
    Hostpath,
    /// Files that are written in front of EMCO's command.
    Wrap,
    /// They do not.
    None,
}

/// Whether the spans of a pod come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Spans {
    /// By the copy of EMCO's configuration that leads them to the sidecar.
    Overlay,
    /// By EMCO's own configuration.
    Config,
    /// If EMCO's own configuration leads them there, which cannot be seen from the pod.
    Unknown,
    /// EMCO's own configuration leads them to somebody else.
    Elsewhere,
    /// EMCO sends none, or there is no sidecar.
    None,
}

/// What is said of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// EMCO's name of the service, or what its label `app` says.
    pub service: Option<String>,
    /// How it stands.
    pub standing: Standing,
    /// The sidecar's image.
    pub image: Option<String>,
    /// What kind of container the sidecar is.
    pub kind: Option<String>,
    /// Where its lines come from.
    pub logs: Lines,
    /// Whether its spans come.
    pub spans: Spans,
    /// One sentence that says what to do; nothing if there is nothing.
    pub next: Option<String>,
}

/// Looks at `pod`; nothing if it has ended or is ending.
pub fn look(pod: &Value, wanted: &Wanted<'_>) -> Option<PodReport> {
    if is_over(pod) {
        return None;
    }
    let decision = review(pod, wanted.settings, wanted.surroundings);
    let status = inject::status(pod).ok().flatten();
    // who says that it has a sidecar may still have none
    let sidecar = status.zip(image_of(pod));
    let (standing, next) = match &sidecar {
        Some((status, image)) => with_sidecar(pod, status, image, &decision, wanted),
        None => without_sidecar(pod, &decision, wanted),
    };
    let text = |pointer| pod.pointer(pointer).and_then(Value::as_str);
    let owned = |pointer| text(pointer).unwrap_or_default().to_owned();
    let (logs, spans) = sidecar
        .as_ref()
        .map_or((Lines::None, Spans::None), |(status, _)| {
            level(status, wanted)
        });
    Some(PodReport {
        namespace: owned("/metadata/namespace"),
        pod: owned("/metadata/name"),
        service: text("/metadata/labels/app").map(str::to_owned),
        standing,
        image: sidecar.as_ref().map(|(_, image)| (*image).to_owned()),
        kind: sidecar.as_ref().map(|(status, _)| status.kind.clone()),
        logs,
        spans,
        next,
    })
}

fn with_sidecar(
    pod: &Value,
    status: &Status,
    image: &str,
    decision: &Decision,
    wanted: &Wanted<'_>,
) -> (Standing, Option<String>) {
    if let Some(trouble) = Trouble::find(pod) {
        let standing = if trouble.gates {
            Standing::Stuck
        } else {
            Standing::Failing
        };
        return (standing, Some(step::trouble(pod, &trouble)));
    }
    match decision {
        Decision::Skip(reason @ Reason::OptedOut) => {
            return (Standing::OptedOut, Some(step::rid(pod, reason)));
        }
        Decision::Skip(reason @ Reason::NotSelected) => {
            return (Standing::NotOurs, Some(step::rid(pod, reason)));
        }
        Decision::Skip(reason @ Reason::NotEmco { .. }) if wanted.exact => {
            return (Standing::NotOurs, Some(step::rid(pod, reason)));
        }
        Decision::Skip(reason @ Reason::Malformed { .. }) => {
            return (Standing::Refused, Some(reason.to_string()));
        }
        _ => {}
    }
    let old = match wanted.image {
        Some(wanted) if is_same_image(image, wanted, status) => None,
        Some(wanted) => Some(step::other_image(pod, image, wanted)),
        None if status.version == env!("CARGO_PKG_VERSION") => None,
        None => Some(step::other_version(pod, &status.version)),
    };
    let old = old.or_else(|| {
        let differs = wanted.exact && matches!(decision, Decision::Inject(_));
        differs.then(|| step::other_settings(pod))
    });
    match old {
        Some(next) => (Standing::Outdated, Some(next)),
        None => (Standing::Current, better(pod, status, wanted)),
    }
}

fn without_sidecar(
    pod: &Value,
    decision: &Decision,
    wanted: &Wanted<'_>,
) -> (Standing, Option<String>) {
    match decision {
        Decision::Skip(reason) => {
            let standing = match reason {
                Reason::OptedOut => Standing::OptedOut,
                Reason::NotSelected | Reason::NotEmco { .. } => Standing::NotOurs,
                _ => Standing::Refused,
            };
            (standing, Some(reason.to_string()))
        }
        Decision::Inject(_) | Decision::Current => {
            let selected = wanted.surroundings.namespace.inject == Some(true);
            (Standing::Missing, Some(step::missing(pod, selected)))
        }
    }
}

/// What would bring a pod that has its sidecar to a higher level, as the injector says it of the pod
/// without one.
fn better(pod: &Value, status: &Status, wanted: &Wanted<'_>) -> Option<String> {
    let (logs, spans) = level(status, wanted);
    if logs != Lines::None {
        return match spans {
            Spans::Overlay | Spans::Config => None,
            Spans::Unknown => {
                let mut notes = notes(pod, wanted).into_iter();
                let note = notes.find(|note| matches!(note, Note::NoOverlay { .. }));
                Some(note.map_or_else(step::no_overlay, |note| note.to_string()))
            }
            Spans::Elsewhere => Some(step::elsewhere()),
            Spans::None => Some(step::no_spans()),
        };
    }
    let mut notes = notes(pod, wanted).into_iter();
    let note = notes.find(|note| !matches!(note, Note::NoOverlay { .. }));
    Some(note.map_or_else(step::no_lines, |note| note.to_string()))
}

/// What is less than was asked for in a pod with a sidecar.
fn notes(pod: &Value, wanted: &Wanted<'_>) -> Vec<Note> {
    let mut bare = pod.clone();
    let patched = match eject(pod) {
        Ok(Some(patch)) => json_patch::patch(&mut bare, &patch).is_ok(),
        _ => false,
    };
    match review(&bare, wanted.settings, wanted.surroundings) {
        Decision::Inject(injection) if patched => injection.notes,
        _ => Vec::new(),
    }
}

fn level(status: &Status, wanted: &Wanted<'_>) -> (Lines, Spans) {
    let logs = match status.logs.as_str() {
        "hostpath" => Lines::Hostpath,
        "wrap" => Lines::Wrap,
        _ => Lines::None,
    };
    let spans = match status.overlay {
        Some(_) => Spans::Overlay,
        None => wanted.configuration.map_or(Spans::Unknown, leads),
    };
    (logs, spans)
}

/// Whether its containers have ended or are told to.
pub(crate) fn is_over(pod: &Value) -> bool {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    matches!(phase, Some("Succeeded" | "Failed"))
        || pod.pointer("/metadata/deletionTimestamp").is_some()
}

/// Whether a sidecar has the image that is wanted. Others may take it from another registry than it
/// was put in with.
fn is_same_image(image: &str, wanted: &str, status: &Status) -> bool {
    let last = |image: &str| image.rsplit('/').next().map(str::to_owned);
    image == wanted || (status.image == wanted && last(image) == last(wanted))
}
