//! Which log files to follow, as an operator writes it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::identity::PodIdentity;

/// What to follow and within which bounds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Pod log directories with CRI files (`<container>/<restart>.log`).
    pub pods: Vec<PodSettings>,
    /// Plain files, without CRI framing.
    pub files: Vec<PlainSettings>,
    /// File that remembers which generation of each plain file is which; without it plain files are
    /// read again from their start after a restart.
    pub state: Option<PathBuf>,
    /// How many files may be open for reading again at a time (default 64).
    pub open_files_max: usize,
}

/// One pod's log directory, e.g. `/var/log/pods/<namespace>_<pod>_<uid>`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PodSettings {
    /// The directory; it may appear later.
    pub directory: PathBuf,
    /// Who the pod is; without it the directory's name says so (a mount with a sub-path hides it).
    #[serde(default)]
    pub identity: Option<PodIdentity>,
    /// Containers to follow; empty means all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Containers never to follow; wins over `include`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Containers whose data is handed out before that of all others, e.g. the proxy whose access
    /// log is evidence.
    #[serde(default)]
    pub first: Vec<String>,
    /// What is read once more after a restart, by container; nothing unless named.
    #[serde(default)]
    pub replay: BTreeMap<String, Replay>,
}

/// One plain log file with its rotated siblings (`<name>.1`, `<name>-20260131`, also `.gz`).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PlainSettings {
    /// The file; it may appear later.
    pub path: PathBuf,
    /// Its name as a container; without it the file's name.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether its data is handed out before that of all others.
    #[serde(default)]
    pub first: bool,
    /// What is read once more after a restart.
    #[serde(default)]
    pub replay: Replay,
}

/// How much of what was covered before a restart is read again, marked as replayed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// Nothing.
    #[default]
    None,
    /// At most this many bytes before the first uncovered one, counted backwards over the container's
    /// files; begins at the start of a line.
    Bytes(u64),
    /// Everything that is still there.
    All,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pods: Vec::new(),
            files: Vec::new(),
            state: None,
            open_files_max: 64,
        }
    }
}

impl PodSettings {
    /// Whether this container's log is to be followed.
    pub fn wants(&self, container: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == container);
        !named(&self.exclude) && (self.include.is_empty() || named(&self.include))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_an_operator_writes_them() {
        let text = r#"{
            "pods": [{
                "directory": "/logs",
                "identity": {"namespace": "emco", "name": "rsync-0", "uid": "u"},
                "exclude": ["debug"],
                "replay": {"istio-proxy": "all", "rsync": {"bytes": 4096}}
            }],
            "files": [{"path": "/var/log/app.log", "replay": "none"}]
        }"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        assert_eq!(settings.open_files_max, 64);
        let pod = &settings.pods[0];
        assert!(pod.wants("rsync") && !pod.wants("debug"));
        assert_eq!(pod.replay["istio-proxy"], Replay::All);
        assert_eq!(pod.replay["rsync"], Replay::Bytes(4096));
    }

    #[test]
    fn unknown_keys_are_refused() {
        for text in [
            r#"{"pod": []}"#,
            r#"{"pods": [{"directory": "/logs", "containers": []}]}"#,
            r#"{"files": [{"path": "/a", "paths": []}]}"#,
            r#"{"pods": [{"directory": "/logs", "replay": {"a": "some"}}]}"#,
        ] {
            assert!(serde_json::from_str::<Settings>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_include_list_is_exhaustive_and_exclude_wins() {
        let pod = PodSettings {
            include: vec!["a".to_owned(), "b".to_owned()],
            exclude: vec!["b".to_owned()],
            ..PodSettings::default()
        };
        assert!(pod.wants("a") && !pod.wants("b") && !pod.wants("c"));
    }
}
