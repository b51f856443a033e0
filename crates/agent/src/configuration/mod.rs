//! From a file and the environment to settings, or to everything that is wrong with them.
//!
//! ```text
//! file ─▶ tree ─┐
//! variables ────┴▶ reader ─▶ typed settings ─▶ limits (garde) ─▶ what only makes sense together
//!                    └──────────── mistakes ◀──────┴───────────────────┘
//! ```

mod changes;
mod conflicts;
mod doubts;
mod mistakes;
mod reader;
mod tree;
mod variables;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use garde::Validate as _;
use in_tail::PodIdentity;

use crate::lanes;
use crate::settings::{Admin, Settings, Spans};
use conflicts::Conflict;
use mistakes::Mistake;
use tree::Origin;

pub(crate) use changes::{Change, Changes};
pub(crate) use doubts::UnknownService;
pub(crate) use mistakes::Mistakes;
pub(crate) use variables::Variables;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Where kubelet has the logs of pods.
const POD_LOGS: &str = "/var/log/pods";

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) file: Option<PathBuf>,
    pub(crate) variables: Variables,
    /// Who the pod is, where the downward API says so.
    pub(crate) pod: Option<PodIdentity>,
}

/// Addresses to listen at, as far as they are known.
pub(crate) struct Listen {
    pub(crate) admin: SocketAddr,
    pub(crate) spans: SocketAddr,
}

/// What was found, usable or not.
pub(crate) type Loaded = Result<Settings, Mistakes>;

impl Sources {
    /// Reads everything anew.
    pub(crate) fn load(&self) -> Loaded {
        self.load_text().1
    }

    /// Reads everything anew; with the file's text, where it can be read.
    fn load_text(&self) -> (Option<String>, Loaded) {
        let text = match self.file.as_deref().map(read).transpose() {
            Ok(text) => text.unwrap_or_default(),
            Err(mistake) => return (None, Err(Mistakes::new(None, "", vec![mistake]))),
        };
        let settings = self
            .settings(&text)
            .map_err(|list| Mistakes::new(self.file.as_deref(), &text, list));
        (Some(text), settings)
    }

    /// Where to listen while the settings cannot be used.
    pub(crate) fn listen(&self) -> Listen {
        let said = |key| self.variables.get(key)?.parse().ok();
        Listen {
            admin: said("admin.listen").unwrap_or(Admin::default().listen),
            spans: said("spans.listen").unwrap_or(Spans::default().listen),
        }
    }

    fn settings(&self, text: &str) -> Result<Settings, Vec<Mistake>> {
        let tree = match tree::parse(text) {
            Ok(tree) => tree,
            // whatever the variables say, it is not what was meant
            Err(mistake) => return Err(vec![mistake]),
        };
        let mut read = reader::read::<Settings>(&tree, &self.variables);
        let Some(mut settings) = read.value.take() else {
            return Err(read.mistakes);
        };
        self.complete(&mut settings);
        let mut report = Report {
            origins: read.origins,
            mistakes: read.mistakes,
        };
        if let Err(found) = settings.validate() {
            for (path, error) in found.iter() {
                report.add(&path.to_string(), error.message());
            }
        }
        let is_suspect = |path: &str| {
            let below = format!("{path}.");
            read.suspects
                .iter()
                .any(|suspect| suspect == path || suspect.starts_with(&below))
        };
        for (path, what) in self.missing(&settings) {
            if !is_suspect(path) {
                report.add_text(path, what);
            }
        }
        for conflict in conflicts::find(&settings) {
            if !conflict.paths.iter().any(|path| is_suspect(path)) {
                report.add_conflict(conflict);
            }
        }
        if report.mistakes.is_empty() {
            for (path, error) in lanes::problems(&settings.lanes) {
                report.add_text(path, format!("`{path}` is not usable: {error:#}"));
            }
        }
        if report.mistakes.is_empty() {
            Ok(settings)
        } else {
            Err(report.mistakes)
        }
    }

    /// What follows from where we run.
    fn complete(&self, settings: &mut Settings) {
        let logs = &mut settings.logs;
        if logs.pod_dir.is_none()
            && logs.files.is_empty()
            && let Some(pod) = &self.pod
        {
            let name = format!("{}_{}_{}", pod.namespace, pod.name, pod.uid);
            logs.pod_dir = Some(Path::new(POD_LOGS).join(name));
        }
    }

    /// What only makes sense together.
    fn missing(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        let mut missing = Vec::new();
        let mut say = |path, what: &str| missing.push((path, what.to_owned()));
        if settings.service.is_empty() {
            say(
                "service",
                "no service: set `service` (EMCO's name of it, e.g. orchestrator) or EMCO_OBSERVER_SERVICE",
            );
        }
        let logs = &settings.logs;
        match logs.pod_dir.as_deref() {
            None if logs.files.is_empty() => {
                say(
                    "logs",
                    "nothing to follow: set `logs.pod_dir` or `logs.files`",
                );
            }
            Some(directory) if self.pod.is_none() && PodIdentity::parse(directory).is_none() => {
                let what = format!(
                    "`logs.pod_dir` is {}, but its name is not <namespace>_<pod>_<uid>; set POD_NAMESPACE, POD_NAME and POD_UID",
                    directory.display()
                );
                say("logs.pod_dir", &what);
            }
            _ => {}
        }
        if lanes::names(&settings.lanes).is_empty() && settings.lanes.otlp.is_none() {
            say(
                "lanes",
                "nowhere to deliver to: set `lanes.forward`, `lanes.elastic` or, for spans, `lanes.otlp`",
            );
        }
        missing
    }
}

/// Mistakes that are found in typed settings.
struct Report {
    origins: BTreeMap<String, Origin>,
    mistakes: Vec<Mistake>,
}

impl Report {
    fn add(&mut self, path: &str, problem: &str) {
        // what is out of range is said by its limit only
        let what = if problem.starts_with("is ") || problem.starts_with("has ") {
            format!("`{path}` {problem}")
        } else {
            format!("`{path}` is {problem}")
        };
        self.add_text(path, what);
    }

    fn add_conflict(&mut self, conflict: Conflict) {
        let said = conflict
            .paths
            .iter()
            .find(|path| !matches!(self.origins.get(*path), None | Some(Origin::Nowhere)));
        let at = said.or(conflict.paths.first()).cloned().unwrap_or_default();
        self.add_text(&at, conflict.what);
    }

    fn add_text(&mut self, path: &str, what: String) {
        let origin = self.origins.get(path).cloned().unwrap_or(Origin::Nowhere);
        self.mistakes
            .push(Mistake::new(path.to_owned(), origin, what));
    }
}

fn read(path: &Path) -> Result<String, Mistake> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => {
            let what = format!("cannot read settings file {}: {error}", path.display());
            Err(Mistake::new(String::new(), Origin::Nowhere, what))
        }
    }
}

#[cfg(test)]
mod tests;
