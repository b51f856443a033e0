//! What is done with a pod, and what an operator is told about it.

use std::fmt;

use json_patch::Patch;

use super::surroundings::PodSecurity;

/// What is done with a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It gets a sidecar, or the one it should have instead of another.
    Inject(Box<Injection>),
    /// It has just the sidecar that it should have.
    Current,
    /// It is left as it is.
    Skip(Reason),
}

/// How a pod gets its sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// What changes.
    pub patch: Patch,
    /// What the sidecar will be.
    pub summary: Summary,
    /// What is less than was asked for, and why.
    pub notes: Vec<Note>,
    /// Whether the pod had another version of the sidecar, or one with other settings.
    pub replaces: bool,
}

/// What a sidecar is, in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// EMCO's name of the service.
    pub service: String,
    /// Where it gets lines from.
    pub logs: Logs,
    /// What kind of container it is.
    pub kind: Kind,
    /// Whether EMCO gets a configuration whose spans lead to the sidecar.
    pub overlay: bool,
}

/// Where a sidecar gets lines from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    /// The node's files.
    Hostpath,
    /// Files that are written in front of EMCO's command.
    Wrap,
    /// None.
    None,
}

impl Logs {
    /// The name that settings and annotations use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hostpath => "hostpath",
            Self::Wrap => "wrap",
            Self::None => "none",
        }
    }
}

/// What kind of container a sidecar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An init container that keeps running.
    Native,
    /// A container beside the others.
    Plain,
}

impl Kind {
    /// The name that settings use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Plain => "plain",
        }
    }
}

/// Why a pod is left as it is; its text is one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The pod says so.
    #[error("the pod opts out with emco-observer.io/inject; remove that to have a sidecar")]
    OptedOut,
    /// Neither pod nor namespace ask for a sidecar.
    #[error(
        "neither the namespace nor the pod asks for a sidecar; label the namespace emco-observer.io/inject=true"
    )]
    NotSelected,
    /// No service of EMCO.
    #[error("{}", not_emco(app.as_deref()))]
    NotEmco {
        /// The value of the label.
        app: Option<String>,
    },
    /// It shares the node's network, where 127.0.0.1 is not its own.
    #[error(
        "the pod uses the node's network, where its sidecar would not be its own; set hostNetwork to false"
    )]
    HostNetwork,
    /// It runs on Windows.
    #[error("the pod runs on Windows, and there is no sidecar for that")]
    Windows,
    /// It is managed by a kubelet, not by the API server.
    #[error(
        "the pod comes from a file on its node, which only that file can change; put the sidecar into the file"
    )]
    StaticPod,
    /// Something of our name is there that is not ours.
    #[error("the pod has {what} {name} that was not put there by injection; rename it")]
    NameTaken {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A port of the sidecar is another container's.
    #[error(
        "container {container} listens on port {port}, which the sidecar needs; change that port"
    )]
    PortTaken {
        /// The other container.
        container: String,
        /// The port.
        port: u64,
    },
    /// None of the containers can be told to be the service.
    #[error(
        "no container is called {app} as the pod label app says, and there is more than one; rename one"
    )]
    NoContainer {
        /// The name that was looked for.
        app: String,
    },
    /// Its containers end, and a plain sidecar would not.
    #[error(
        "the pod ends with its work, and a plain container beside it would keep it from that; native sidecars need Kubernetes 1.29"
    )]
    WouldNotEnd,
    /// Its sidecar would keep it from starting, or from being ready.
    #[error(
        "the sidecar {image} does not run in other pods, so this one starts without; emco-observer-control status says why"
    )]
    DoesNotRun {
        /// The image.
        image: String,
    },
    /// It is not what a pod looks like.
    #[error("{path} of the pod is not what Kubernetes has there; correct it")]
    Malformed {
        /// Where.
        path: String,
    },
}

impl Reason {
    /// A word for metrics and reports.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::OptedOut => "opted_out",
            Self::NotSelected => "not_selected",
            Self::NotEmco { .. } => "not_emco",
            Self::HostNetwork => "host_network",
            Self::Windows => "windows",
            Self::StaticPod => "static_pod",
            Self::NameTaken { .. } => "name_taken",
            Self::PortTaken { .. } => "port_taken",
            Self::NoContainer { .. } => "no_container",
            Self::WouldNotEnd => "would_not_end",
            Self::DoesNotRun { .. } => "does_not_run",
            Self::Malformed { .. } => "malformed",
        }
    }

    /// Whether an operator who selected the pod should hear of it: it is EMCO's, wanted, and has no
    /// sidecar.
    pub const fn is_unexpected(&self) -> bool {
        !matches!(
            self,
            Self::OptedOut | Self::NotSelected | Self::NotEmco { .. }
        )
    }
}

/// Something that is less than was asked for; its text is one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// An annotation of ours says nothing that we know.
    #[error("annotation {name} is {value:?} and was not followed; it has to be {allowed}")]
    UnknownWord {
        /// The annotation.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it could say.
        allowed: &'static str,
    },
    /// The node's files were asked for and are forbidden.
    #[error("Pod Security {} forbids volumes of the node, so lines are taken by wrap instead", .0.name())]
    HostPathForbidden(PodSecurity),
    /// There is nothing to wrap.
    #[error(
        "container {container} has no command to wrap, so its lines are not taken; name its command in the pod"
    )]
    NoCommand {
        /// The container.
        container: String,
    },
    /// There is nothing to lay over, or no way to do it.
    #[error("{why}, so EMCO's spans come only if global.zipkinIp is 127.0.0.1")]
    NoOverlay {
        /// What is in the way.
        why: Obstacle,
    },
    /// There would have to be an init container, and there must be none.
    #[error(
        "an optional sidecar cannot wrap EMCO's command, so its lines are not taken; make the sidecar native or plain"
    )]
    OptionalWithoutWrap,
    /// A native sidecar was asked for where no pod with one would start.
    #[error(
        "native sidecars need Kubernetes 1.28 on the server and every node, so the sidecar is a plain container"
    )]
    NotNative,
}

impl Note {
    /// A word for metrics and reports.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::UnknownWord { .. } => "unknown_word",
            Self::HostPathForbidden(_) => "host_path_forbidden",
            Self::NoCommand { .. } => "no_command",
            Self::NoOverlay { .. } => "no_overlay",
            Self::OptionalWithoutWrap => "optional_without_wrap",
            Self::NotNative => "not_native",
        }
    }
}

/// Why `config.json` cannot be laid over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// No such mount.
    NoMount,
    /// It is not from a ConfigMap or a Secret.
    OtherVolume,
    /// The sidecar's user may not read it.
    Unreadable,
    /// Nothing may run before EMCO.
    Optional,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMount => "config.json is not mounted by subPath",
            Self::OtherVolume => "config.json comes from no ConfigMap or Secret",
            Self::Optional => "nothing runs before EMCO where the sidecar is optional",
            Self::Unreadable => "config.json is readable for its owner only",
        })
    }
}

fn not_emco(app: Option<&str>) -> String {
    match app {
        Some(app) => format!(
            "the pod label app is {app}, which is no service of EMCO; if it is one, add it to more_services"
        ),
        None => "the pod has no label app, which every service of EMCO has; if it is one, label it"
            .to_owned(),
    }
}
