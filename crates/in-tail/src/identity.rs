//! What makes a log file the same file: never its name, inode or compression, only its content.
//!
//! A CRI file's key is xxh3-128 over `pod uid, 0, container, 0, restart (decimal), 0, first complete
//! line including its newline`. Of a first line longer than [`FIRST_LINE_BYTES_MAX`] only that much
//! counts. The CRI time stamp (nanoseconds) makes first lines differ.

use std::path::Path;

use model::ids::FileKey;
use serde::Deserialize;
use twox_hash::{XxHash3_64, XxHash3_128};

/// How much of a first line counts; a longer one is not waited for.
pub const FIRST_LINE_BYTES_MAX: usize = 64 * 1024;

/// How much of a file's beginning is compared to notice that another content took its place.
pub(crate) const PREFIX_BYTES_MAX: usize = 1024;

/// Who a pod is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PodIdentity {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID; part of every file key.
    pub uid: String,
}

/// The key of a CRI file. `first_line` is its first complete line including the newline, or at least
/// its first [`FIRST_LINE_BYTES_MAX`] bytes.
pub fn file_key(pod_uid: &str, container: &str, restart: u32, first_line: &[u8]) -> FileKey {
    let mut hasher = XxHash3_128::new();
    for part in [pod_uid, container, &restart.to_string()] {
        hasher.write(part.as_bytes());
        hasher.write(&[0]);
    }
    let counted = first_line.get(..FIRST_LINE_BYTES_MAX);
    hasher.write(counted.unwrap_or(first_line));
    FileKey(hasher.finish_128().to_be_bytes())
}

impl PodIdentity {
    /// Reads `<namespace>_<pod>_<uid>` from the last element of a pod log directory's path.
    ///
    /// Neither of the three may hold an underscore in Kubernetes, so the name is unambiguous.
    pub fn parse(directory: &Path) -> Option<Self> {
        let mut parts = directory.file_name()?.to_str()?.split('_');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let identity = Self {
            namespace: part()?.to_owned(),
            name: part()?.to_owned(),
            uid: part()?.to_owned(),
        };
        parts.next().is_none().then_some(identity)
    }
}

/// The beginning of a file as a length and a hash: cheap to compare after every read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) bytes: u16,
    pub(crate) hash: u64,
}

impl Prefix {
    /// Of at most the first [`PREFIX_BYTES_MAX`] bytes of `head`.
    pub(crate) fn of(head: &[u8]) -> Self {
        let counted = head.get(..PREFIX_BYTES_MAX).unwrap_or(head);
        Self {
            bytes: u16::try_from(counted.len()).unwrap_or(u16::MAX),
            hash: XxHash3_64::oneshot(counted),
        }
    }

    /// Whether a file that begins with `head` can be the one this prefix was taken of.
    pub(crate) fn matches(self, head: &[u8]) -> bool {
        head.get(..usize::from(self.bytes))
            .is_some_and(|counted| XxHash3_64::oneshot(counted) == self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_changes_with_each_of_its_parts_and_never_otherwise() {
        let key = file_key("uid", "orchestrator", 0, b"first\n");
        assert_eq!(key, file_key("uid", "orchestrator", 0, b"first\n"));
        for other in [
            file_key("uid2", "orchestrator", 0, b"first\n"),
            file_key("uid", "rsync", 0, b"first\n"),
            file_key("uid", "orchestrator", 1, b"first\n"),
            file_key("uid", "orchestrator", 0, b"second\n"),
            file_key("uidorchestrator", "", 0, b"first\n"),
        ] {
            assert_ne!(key, other);
        }
    }

    /// Documents in stores carry this value: a change of the formula would store every line twice.
    #[test]
    fn the_formula_is_a_contract() {
        let key = file_key("uid", "orchestrator", 7, b"first\n");
        assert_eq!(key.to_string(), "f51d77e537e4f20ee1ebf740e117202e");
    }

    #[test]
    fn only_a_bounded_part_of_a_first_line_counts() {
        let long = vec![b'x'; FIRST_LINE_BYTES_MAX];
        let longer = vec![b'x'; FIRST_LINE_BYTES_MAX + 100];
        assert_eq!(
            file_key("uid", "c", 0, &long),
            file_key("uid", "c", 0, &longer)
        );
    }

    #[test]
    fn a_pod_is_read_from_its_directory() {
        let pod = PodIdentity::parse(Path::new("/var/log/pods/emco_rsync-0_1234-ab")).unwrap();
        let parts = (&*pod.namespace, &*pod.name, &*pod.uid);
        assert_eq!(parts, ("emco", "rsync-0", "1234-ab"));
        for other in ["/var/log/pods", "/a/b_c", "/a/b_c_d_e", "/a/__x", "/"] {
            assert_eq!(PodIdentity::parse(Path::new(other)), None, "{other}");
        }
    }
}
