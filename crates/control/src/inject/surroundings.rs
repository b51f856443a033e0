//! What a pod cannot say of itself: the versions of the cluster and what its namespace allows.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Label of namespaces whose pods get a sidecar, and label or annotation of single pods.
pub const INJECT: &str = "emco-observer.io/inject";
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
const ISTIO_INJECTION: &str = "istio-injection";
const ISTIO_REVISION: &str = "istio.io/rev";

/// Where a pod will run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Version of the API server; what is not known counts as old.
    pub server: Option<KubernetesVersion>,
    /// Version of the oldest kubelet; what is not known counts as old.
    pub oldest_node: Option<KubernetesVersion>,
    /// The pod's namespace.
    pub namespace: Namespace,
}

impl Surroundings {
    /// The older of server and nodes, if both are known: what the whole cluster understands.
    pub fn version(&self) -> Option<KubernetesVersion> {
        Some(self.server?.min(self.oldest_node?))
    }
}

/// What a namespace asks for and allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Whether it is selected, if it says so.
    pub inject: Option<bool>,
    /// What its pods may do.
    pub pod_security: PodSecurity,
    /// Whether Istio puts its proxy into its pods.
    pub istio: Istio,
}

impl Namespace {
    /// Reads what the labels of a namespace say; labels that say something else than is known are
    /// taken for the strictest.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut namespace = Self::default();
        for (name, value) in labels {
            match name {
                INJECT => namespace.inject = Some(value == "true"),
                POD_SECURITY => {
                    namespace.pod_security = value.parse().unwrap_or(PodSecurity::Restricted);
                }
                ISTIO_INJECTION if value == "enabled" => namespace.istio = Istio::Injects,
                ISTIO_INJECTION => namespace.istio = Istio::Absent,
                ISTIO_REVISION if namespace.istio == Istio::Unknown => {
                    namespace.istio = Istio::Injects;
                }
                _ => {}
            }
        }
        namespace
    }
}

/// Levels of the Pod Security Standards that a namespace enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Everything is allowed, volumes of the node, too.
    #[default]
    Privileged,
    /// No volumes of the node.
    Baseline,
    /// Hardened pods only.
    Restricted,
}

impl PodSecurity {
    /// Whether a pod may mount a directory of its node.
    pub const fn allows_host_path(self) -> bool {
        matches!(self, Self::Privileged)
    }

    /// The level as a label says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl FromStr for PodSecurity {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        [Self::Privileged, Self::Baseline, Self::Restricted]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or(UnknownWord {
                allowed: "privileged, baseline or restricted",
            })
    }
}

/// Whether Istio injects its proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Istio {
    /// It may.
    #[default]
    Unknown,
    /// It does.
    Injects,
    /// It does not.
    Absent,
}

/// A version of Kubernetes, as far as features follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubernetesVersion {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

impl KubernetesVersion {
    /// The first that knows native sidecars, if they are switched on.
    pub const NATIVE_SIDECAR_ALPHA: Self = Self::new(1, 28);
    /// The first that has native sidecars.
    pub const NATIVE_SIDECAR: Self = Self::new(1, 29);

    /// Version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Reads `1.29`, `v1.29.3`, `v1.29.3+k3s1` and a minor version with a plus, such as `1.29+`.
impl FromStr for KubernetesVersion {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let unknown = UnknownWord {
            allowed: "a version such as 1.29 or v1.29.3",
        };
        let number = text.strip_prefix('v').unwrap_or(text);
        let (major, rest) = number.split_once('.').ok_or(unknown)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let (minor, rest) = rest
            .split_at_checked(digits.unwrap_or(rest.len()))
            .ok_or(unknown)?;
        if !rest.is_empty() && !rest.starts_with(['.', '+', '-']) {
            return Err(unknown);
        }
        Ok(Self {
            major: major.parse().map_err(|_| unknown)?,
            minor: minor.parse().map_err(|_| unknown)?,
        })
    }
}

/// A word that means nothing where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has to be {allowed}")]
pub struct UnknownWord {
    /// What would mean something.
    pub allowed: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_servers_and_nodes_say_them() {
        for text in ["1.29", "v1.29.3", "v1.29.3+k3s1", "1.29+", "v1.29.0-rc.1"] {
            assert_eq!(text.parse(), Ok(KubernetesVersion::new(1, 29)), "{text}");
        }
        for text in ["", "1", "1.", "v.29", "1.x", "1.29 beta", "1.99999"] {
            assert!(text.parse::<KubernetesVersion>().is_err(), "{text}");
        }
        let (old, new) = (KubernetesVersion::new(1, 9), KubernetesVersion::new(1, 28));
        assert!(old < new);
    }

    #[test]
    fn the_cluster_is_as_old_as_its_oldest_part() {
        let at = |server, node| {
            let version = |minor| Some(KubernetesVersion::new(1, minor));
            Surroundings {
                server: version(server),
                oldest_node: version(node),
                ..Surroundings::default()
            }
            .version()
        };
        assert_eq!(at(30, 28), Some(KubernetesVersion::new(1, 28)));
        assert_eq!(at(28, 30), Some(KubernetesVersion::new(1, 28)));
        assert_eq!(Surroundings::default().version(), None);
    }

    #[test]
    fn a_namespace_says_what_it_allows_by_labels() {
        let of = |labels: &[(&'static str, &'static str)]| {
            Namespace::from_labels(labels.iter().copied())
        };
        assert_eq!(of(&[]), Namespace::default());
        let emco = of(&[
            ("istio.io/rev", "canary"),
            (POD_SECURITY, "baseline"),
            (INJECT, "true"),
        ]);
        assert_eq!(emco.inject, Some(true));
        assert_eq!(emco.pod_security, PodSecurity::Baseline);
        assert_eq!(emco.istio, Istio::Injects);
        assert_eq!(of(&[(INJECT, "yes")]).inject, Some(false));
        // a level that we do not know may forbid more than those we know
        let unknown = of(&[(POD_SECURITY, "strict")]).pod_security;
        assert_eq!(unknown, PodSecurity::Restricted);
        for labels in [
            [("istio-injection", "disabled"), ("istio.io/rev", "x")],
            [("istio.io/rev", "x"), ("istio-injection", "disabled")],
        ] {
            assert_eq!(of(&labels).istio, Istio::Absent);
        }
    }
}
