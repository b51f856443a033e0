//! The pods that a replay pretends to be: names and directories as kubelet gives them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use twox_hash::XxHash3_64;

use super::manifest;

/// What names of replica sets and pods are made of.
const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// One pod; its main container has the name of the service.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) service: String,
    pub(super) uid: String,
    pub(super) directory: PathBuf,
    namespace: String,
    name: String,
}

impl Pod {
    /// The same service and seed always make the same pod.
    pub(super) fn new(out: &Path, namespace: &str, service: &str, seed: u64) -> Self {
        let mut random =
            fastrand::Rng::with_seed(XxHash3_64::oneshot_with_seed(seed, service.as_bytes()));
        let mut word = |length: usize| -> String {
            (0..length)
                .filter_map(|_| random.choice(NAME_LETTERS.iter().copied()))
                .map(char::from)
                .collect()
        };
        let name = format!("{service}-{}-{}", word(10), word(5));
        let bits = random.u128(..);
        // Version 4, variant 1, as every Kubernetes uid.
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{bits:032x}");
        let group = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        let uid = format!(
            "{}-{}-{}-{}-{}",
            group(0, 8),
            group(8, 12),
            group(12, 16),
            group(16, 20),
            group(20, 32)
        );
        Self {
            directory: out.join(format!("{namespace}_{name}_{uid}")),
            service: service.to_owned(),
            namespace: namespace.to_owned(),
            name,
            uid,
        }
    }

    /// Makes its directory, which must not be there: a second run must not write into the logs of
    /// the first.
    pub(super) fn create(&self) -> anyhow::Result<()> {
        let path = self.directory.display();
        if let Some(out) = self.directory.parent() {
            std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
        }
        match std::fs::create_dir(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("{path} is there already: give another --out or --seed, or remove it")
            }
            made => made.with_context(|| format!("making {path}")),
        }
    }

    pub(super) fn entry(&self) -> manifest::Entry<'_> {
        manifest::Entry::Pod(manifest::PodEntry {
            service: &self.service,
            namespace: &self.namespace,
            pod: &self.name,
            uid: &self.uid,
            directory: self.directory.to_string_lossy(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_pods_again() {
        let make = |seed| Pod::new(Path::new("/out"), "emco", "clm", seed).directory;
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        let name = make(1).file_name().unwrap().to_str().unwrap().to_owned();
        let parts: Vec<&str> = name.split('_').collect();
        assert_eq!((parts.len(), parts[0], parts[2].len()), (3, "emco", 36));
        assert_eq!(&parts[2][14..15], "4");
    }
}
