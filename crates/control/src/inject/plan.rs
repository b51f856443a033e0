//! From a pod and where it will run to what its sidecar is; nothing is changed here.

use serde_json::Value;

use super::decision::{Kind, Logs, Note, Obstacle, Reason, Summary};
use super::names::{
    ADMIN_PORT, CONFIG_FILE, EVIDENCE_ANNOTATION, LOGS_ANNOTATION, OVERLAY_ANNOTATION, SPANS_PORT,
    is_ours,
};
use super::pod::{Pod, is_named_list, items, malformed, name, position};
use super::settings::{Evidence, LogMode, Settings, SidecarKind};
use super::surroundings::{INJECT, Istio, KubernetesVersion, Surroundings};

/// Permission of everybody to read.
const READABLE: u64 = 0o004;

/// What a pod gets.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) pod: Pod<'a>,
    /// The service's container and where it is in `containers`.
    pub(super) service: &'a Value,
    pub(super) index: usize,
    pub(super) kind: Kind,
    pub(super) logs: Logs,
    pub(super) evidence: Evidence,
    pub(super) overlay: Option<Overlay<'a>>,
    /// Whether Istio's proxy has to be kept from our port.
    pub(super) istio: bool,
    pub(super) notes: Vec<Note>,
}

/// The mount of `config.json` that is pointed elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlay<'a> {
    /// Where it is in the container's mounts.
    pub(super) mount: usize,
    /// The volume it comes from.
    pub(super) volume: &'a str,
}

impl<'a> Plan<'a> {
    /// Plans for `pod`, in which nothing of ours is.
    pub(super) fn new(
        pod: Pod<'a>,
        settings: &Settings,
        surroundings: &Surroundings,
    ) -> Result<Self, Reason> {
        let app = refuse(pod, settings, surroundings)?;
        let no_container = || Reason::NoContainer {
            app: app.to_owned(),
        };
        let index = pod.service(app).ok_or_else(no_container)?;
        let service = pod.containers().get(index).ok_or_else(no_container)?;
        check_service(service, index)?;

        let mut notes = Vec::new();
        let kind = kind(settings.sidecar, surroundings, &mut notes);
        if kind == Kind::Plain && pod.ends() {
            return Err(Reason::WouldNotEnd);
        }
        let logs = logs(pod, service, settings, surroundings, &mut notes);
        let evidence = evidence(pod, settings, &mut notes);
        let overlay = overlay(pod, service, settings, &mut notes);
        Ok(Self {
            pod,
            service,
            index,
            kind,
            logs,
            evidence,
            overlay,
            istio: surroundings.namespace.istio != Istio::Absent || pod.has_istio(),
            notes,
        })
    }

    /// The plan in a few words.
    pub(super) fn summary(&self) -> Summary {
        Summary {
            service: self.pod.label("app").unwrap_or_default().to_owned(),
            logs: self.logs,
            kind: self.kind,
            overlay: self.overlay.is_some(),
        }
    }

    /// Whether something has to be done before the sidecar starts.
    pub(super) fn prepares(&self) -> bool {
        self.logs == Logs::Wrap || self.overlay.is_some()
    }
}

/// Refuses pods that get no sidecar; the name of the service otherwise.
fn refuse<'a>(
    pod: Pod<'a>,
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<&'a str, Reason> {
    let said = [pod.label(INJECT), pod.annotation(INJECT)];
    if said.into_iter().flatten().any(|word| word != "true") {
        return Err(Reason::OptedOut);
    }
    let asks = said.into_iter().any(|word| word.is_some());
    if !asks && surroundings.namespace.inject != Some(true) {
        return Err(Reason::NotSelected);
    }
    let app = pod.label("app");
    let app = app
        .filter(|app| settings.is_service(app) || asks && !app.is_empty())
        .ok_or_else(|| Reason::NotEmco {
            app: app.map(str::to_owned),
        })?;
    pod.check()?;
    if pod.bool("hostNetwork") {
        return Err(Reason::HostNetwork);
    }
    if pod.is_windows() {
        return Err(Reason::Windows);
    }
    if pod.is_static() {
        return Err(Reason::StaticPod);
    }
    refuse_taken(pod)?;
    Ok(app)
}

/// Refuses pods in which our names or ports are somebody else's.
fn refuse_taken(pod: Pod<'_>) -> Result<(), Reason> {
    let taken = |what, item| Reason::NameTaken {
        what,
        name: name(item).to_owned(),
    };
    for container in pod.all_containers() {
        if is_ours(name(container)) {
            return Err(taken("a container", container));
        }
        let mut mounts = items(container.get("volumeMounts")).iter();
        if let Some(mount) = mounts.find(|mount| is_ours(name(mount))) {
            return Err(taken("a mount of", mount));
        }
        let ports = items(container.get("ports")).iter();
        let mut ports = ports.filter_map(|port| port.get("containerPort")?.as_u64());
        let ours = |port: &u64| [ADMIN_PORT, SPANS_PORT].map(u64::from).contains(port);
        if let Some(port) = ports.find(ours) {
            return Err(Reason::PortTaken {
                container: name(container).to_owned(),
                port,
            });
        }
    }
    let mut volumes = pod.volumes().iter();
    match volumes.find(|volume| is_ours(name(volume))) {
        Some(volume) => Err(taken("a volume", volume)),
        None => Ok(()),
    }
}

/// That what is changed of the service's container has the form that it has to have.
fn check_service(service: &Value, index: usize) -> Result<(), Reason> {
    let at = |name: &str| format!("spec.containers[{index}].{name}");
    for list in ["env", "volumeMounts"] {
        is_named_list(service.get(list), &at(list))?;
    }
    match service.get("command") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(words)) if words.iter().all(Value::is_string) => Ok(()),
        Some(_) => Err(malformed(at("command"))),
    }
}

fn kind(wanted: SidecarKind, surroundings: &Surroundings, notes: &mut Vec<Note>) -> Kind {
    let reaches = |first: KubernetesVersion| {
        let version = surroundings.version();
        version.is_some_and(|version| version >= first)
    };
    match wanted {
        SidecarKind::Auto if reaches(KubernetesVersion::NATIVE_SIDECAR) => Kind::Native,
        SidecarKind::Auto | SidecarKind::Plain | SidecarKind::Optional => Kind::Plain,
        SidecarKind::Native if reaches(KubernetesVersion::NATIVE_SIDECAR_ALPHA) => Kind::Native,
        // the field would be dropped without a word, and the pod wait in Init for ever
        SidecarKind::Native => {
            notes.push(Note::NotNative);
            Kind::Plain
        }
    }
}

fn logs(
    pod: Pod<'_>,
    service: &Value,
    settings: &Settings,
    surroundings: &Surroundings,
    notes: &mut Vec<Note>,
) -> Logs {
    let words = [
        ("auto", LogMode::Auto),
        ("hostpath", LogMode::Hostpath),
        ("wrap", LogMode::Wrap),
        ("none", LogMode::None),
    ];
    let allowed = "auto, hostpath, wrap or none";
    let said = said(pod, LOGS_ANNOTATION, &words, allowed, notes);
    let level = surroundings.namespace.pod_security;
    let wraps = match said.unwrap_or(settings.logs) {
        LogMode::None => return Logs::None,
        LogMode::Wrap => true,
        LogMode::Auto => !level.allows_host_path(),
        LogMode::Hostpath if level.allows_host_path() => false,
        LogMode::Hostpath => {
            notes.push(Note::HostPathForbidden(level));
            true
        }
    };
    if !wraps {
        return Logs::Hostpath;
    }
    if settings.sidecar == SidecarKind::Optional {
        notes.push(Note::OptionalWithoutWrap);
        return Logs::None;
    }
    if items(service.get("command")).is_empty() {
        let container = name(service).to_owned();
        notes.push(Note::NoCommand { container });
        return Logs::None;
    }
    Logs::Wrap
}

fn evidence(pod: Pod<'_>, settings: &Settings, notes: &mut Vec<Note>) -> Evidence {
    let words = [
        ("full", Evidence::Full),
        ("limited", Evidence::Limited),
        ("as-sampled", Evidence::AsSampled),
    ];
    let allowed = "full, limited or as-sampled";
    said(pod, EVIDENCE_ANNOTATION, &words, allowed, notes).unwrap_or(settings.evidence)
}

fn overlay<'a>(
    pod: Pod<'a>,
    service: &'a Value,
    settings: &Settings,
    notes: &mut Vec<Note>,
) -> Option<Overlay<'a>> {
    let words = [("true", true), ("false", false)];
    let said = said(pod, OVERLAY_ANNOTATION, &words, "true or false", notes);
    if !said.unwrap_or(settings.overlay) {
        return None;
    }
    let found = match settings.sidecar {
        SidecarKind::Optional => Err(Obstacle::Optional),
        _ => find_overlay(pod, service),
    };
    found
        .map_err(|why| notes.push(Note::NoOverlay { why }))
        .ok()
}

fn find_overlay<'a>(pod: Pod<'a>, service: &'a Value) -> Result<Overlay<'a>, Obstacle> {
    let mounts = items(service.get("volumeMounts"));
    let is_config = |mount: &&Value| {
        let text = |key: &str| mount.get(key).and_then(Value::as_str);
        let path = text("mountPath").unwrap_or_default();
        let file = path.rsplit_once('/');
        text("subPath") == Some(CONFIG_FILE) && file.is_some_and(|(_, file)| file == CONFIG_FILE)
    };
    let at = mounts.iter().position(|mount| is_config(&mount));
    let at = at.ok_or(Obstacle::NoMount)?;
    let volume = mounts.get(at).map(name).unwrap_or_default();
    let source = position(pod.volumes(), volume)
        .and_then(|index| pod.volumes().get(index))
        .ok_or(Obstacle::OtherVolume)?;
    let maker = source.get("configMap").or_else(|| source.get("secret"));
    let maker = maker.filter(|maker| maker.is_object());
    let maker = maker.ok_or(Obstacle::OtherVolume)?;
    // for a group of its own kubelet makes files readable, and that group is ours, too
    let security = pod.spec.get("securityContext");
    let has_group = security.is_some_and(|security| security.get("fsGroup").is_some());
    if has_group || is_readable(maker) {
        Ok(Overlay { mount: at, volume })
    } else {
        Err(Obstacle::Unreadable)
    }
}

/// Whether everybody may read `config.json` in a volume that is made of a ConfigMap or a Secret.
fn is_readable(maker: &Value) -> bool {
    let mode = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64);
    let item = items(maker.get("items"))
        .iter()
        .find(|item| item.get("path").and_then(Value::as_str) == Some(CONFIG_FILE));
    let mode = item
        .and_then(|item| mode(item, "mode"))
        .or_else(|| mode(maker, "defaultMode"));
    mode.is_none_or(|mode| mode & READABLE != 0)
}

/// What the annotation `key` says, if it says one of `words`.
fn said<T: Copy>(
    pod: Pod<'_>,
    key: &'static str,
    words: &[(&str, T)],
    allowed: &'static str,
    notes: &mut Vec<Note>,
) -> Option<T> {
    let value = pod.annotation(key)?;
    let known = words.iter().find(|(word, _)| *word == value);
    if known.is_none() {
        notes.push(Note::UnknownWord {
            name: key,
            value: value.chars().take(64).collect(),
            allowed,
        });
    }
    known.map(|(_, meaning)| *meaning)
}
