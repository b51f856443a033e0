//! What the process learns from where it runs. The only place that looks.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use in_tail::PodIdentity;
use model::time::UnixNanos;

/// Whether this is a container of a pod: kubelet gives every one of them this variable.
pub(crate) fn in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Everything that is said by variables; what is no text is left out.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Who the pod is, as the downward API says; nothing outside a pod.
pub(crate) fn pod_identity() -> Option<PodIdentity> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Some(PodIdentity {
        namespace: variable("POD_NAMESPACE")?,
        name: variable("POD_NAME")?,
        uid: variable("POD_UID")?,
    })
}

/// Name of the file that is locked. Whoever looks whether the directory is in use touches it.
const LOCK: &str = "lock";

/// Makes the state directory ours as long as the file is held.
pub(crate) fn lock(state_dir: &Path) -> Result<File> {
    std::fs::create_dir_all(state_dir)
        .with_context(|| format!("cannot make the state directory {}", state_dir.display()))?;
    let path = state_dir.join(LOCK);
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "state directory {} is used by another emco-observer; give each its own `state_dir`",
            state_dir.display()
        ),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Now.
pub(crate) fn now() -> UnixNanos {
    nanos(SystemTime::now())
}

/// Seconds by which the node's local time is ahead of UTC; the dialects without a zone print it.
pub(crate) fn zone_offset_seconds() -> i32 {
    let zone = jiff::tz::TimeZone::system();
    zone.to_offset(jiff::Timestamp::now()).seconds()
}

/// When anything in the state directory was written last: the process was alive then.
pub(crate) fn last_alive(state_dir: &Path) -> Option<UnixNanos> {
    newest(state_dir, 3)
}

fn newest(path: &Path, depth: u8) -> Option<UnixNanos> {
    let entries = std::fs::read_dir(path).ok()?;
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let data = entry.metadata().ok()?;
            match data.is_dir() {
                true if depth > 0 => newest(&entry.path(), depth - 1),
                true => None,
                false if entry.file_name() == LOCK => None,
                false => data.modified().ok().map(nanos),
            }
        })
        .max()
}

fn nanos(time: SystemTime) -> UnixNanos {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
