//! From a plan to the patch that carries it out.
//!
//! | what | where | how |
//! |---|---|---|
//! | variables, mounts, command of the service | `/spec/containers/<i>/…` | appended; the command gets ours in front of it |
//! | mount of `config.json` | `…/volumeMounts/<j>/name` | points to another volume |
//! | init containers | `/spec/initContainers` | behind Istio's proxy, if that is one, else first |
//! | plain sidecar | `/spec/containers` | first, or behind Istio's proxy if that is first |
//! | volumes, pull secrets | `/spec/…` | appended |
//! | annotations | `/metadata/annotations` | added |
//!
//! What is at an index is changed before anything moves it.

use json_patch::Patch;
use json_patch::jsonptr::PointerBuf;
use serde_json::{Map, Value, json};

use super::changes::{Changes, below, path};
use super::decision::Kind;
use super::names::{ADMIN_PORT, DEFAULT_CONTAINER, EXCLUDED_PORTS, SHARED, STATUS};
use super::plan::Plan;
use super::pod::{items, name, position};
use super::render;
use super::settings::Settings;
use super::status::Status;

/// Name of Istio's proxy.
const PROXY: &str = "istio-proxy";

/// What changes, and what the status annotation in it says.
pub(super) fn patch(plan: &Plan<'_>, settings: &Settings) -> (Patch, Status) {
    let mut changes = Changes::default();
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        image: settings.image.clone(),
        logs: plan.logs.name().to_owned(),
        kind: plan.kind.name().to_owned(),
        service: name(plan.service).to_owned(),
        ..Status::default()
    };
    change_service(plan, &mut changes, &mut status);
    add_containers(plan, settings, &mut changes);

    let spec = |list: &str| path(["spec", list]);
    let volumes = render::volumes(plan, settings);
    let present = plan.pod.spec.get("volumes");
    changes.append(spec("volumes"), "volumes", present, volumes);

    let secrets = pull_secrets(plan, settings);
    status.image_pull_secrets = names(&secrets);
    let present = plan.pod.spec.get("imagePullSecrets");
    changes.append(
        spec("imagePullSecrets"),
        "imagePullSecrets",
        present,
        secrets,
    );

    annotate(plan, &mut changes, &mut status);
    (changes.finish(), status)
}

fn change_service<'a>(plan: &Plan<'a>, changes: &mut Changes<'a>, status: &mut Status) {
    let container = below(&path(["spec", "containers"]), plan.index);
    let variables = render::service_variables(plan);
    status.env = names(&variables);
    let present = plan.service.get("env");
    changes.append(below(&container, "env"), "env", present, variables);

    let mounts = below(&container, "volumeMounts");
    let present = plan.service.get("volumeMounts");
    let more = render::service_mounts(plan);
    changes.append(mounts.clone(), "volumeMounts", present, more);
    if let Some(overlay) = plan.overlay {
        status.overlay = Some(overlay.volume.to_owned());
        let mount = below(&below(&mounts, overlay.mount), "name");
        changes.replace(mount, SHARED.volume.into());
    }
    if let Some(command) = render::wrapped(plan) {
        changes.replace(below(&container, "command"), command.into());
    }
}

fn add_containers<'a>(plan: &Plan<'a>, settings: &Settings, changes: &mut Changes<'a>) {
    let mut first = Vec::new();
    if plan.prepares() {
        first.push(render::prepare(plan, settings));
    }
    let sidecar = render::sidecar(plan, settings);
    if plan.kind == Kind::Native {
        first.push(sidecar);
    } else {
        let containers = plan.pod.containers();
        let behind = containers.first().is_some_and(|first| name(first) == PROXY);
        let list = path(["spec", "containers"]);
        changes.add(below(&list, usize::from(behind)), sidecar);
    }
    if first.is_empty() {
        return;
    }
    let list = path(["spec", "initContainers"]);
    let present = plan.pod.init_containers();
    if present.is_empty() {
        changes.append(
            list,
            "initContainers",
            plan.pod.spec.get("initContainers"),
            first,
        );
    } else {
        let at = position(present, PROXY).map_or(0, |proxy| proxy + 1);
        for (index, container) in (at..).zip(first) {
            changes.add(below(&list, index), container);
        }
    }
}

/// The secrets of the image that the pod does not have.
fn pull_secrets(plan: &Plan<'_>, settings: &Settings) -> Vec<Value> {
    let present = items(plan.pod.spec.get("imagePullSecrets"));
    let missing = settings.image_pull_secrets.iter();
    missing
        .filter(|name| position(present, name).is_none())
        .map(|name| json!({ "name": name }))
        .collect()
}

/// Adds the annotations, the status last: it names the others.
fn annotate(plan: &Plan<'_>, changes: &mut Changes<'_>, status: &mut Status) {
    let mut annotations: Map<String, Value> = Map::new();
    if plan.istio
        && let Some(ports) = excluded_ports(plan.pod.annotation(EXCLUDED_PORTS))
    {
        annotations.insert(EXCLUDED_PORTS.to_owned(), ports.into());
        let empty = plan.pod.annotation(EXCLUDED_PORTS) == Some("");
        if empty {
            changes.keep(EXCLUDED_PORTS, Some(&json!("")));
        }
    }
    // ours is first, and `kubectl logs` would show it
    if plan.kind == Kind::Plain && plan.pod.annotation(DEFAULT_CONTAINER).is_none() {
        annotations.insert(DEFAULT_CONTAINER.to_owned(), status.service.clone().into());
    }
    status.annotations = annotations.keys().cloned().collect();

    let present = plan.pod.metadata.get("annotations");
    let any = present.and_then(Value::as_object);
    let any = any.is_some_and(|annotations| !annotations.is_empty());
    if !any {
        changes.keep("annotations", present);
    }
    status.digest = changes.digested();
    status.restore = std::mem::take(&mut changes.restore);
    annotations.insert(STATUS.to_owned(), status.to_text().into());

    let all: PointerBuf = path(["metadata", "annotations"]);
    if any {
        for (name, value) in annotations {
            changes.add(below(&all, name.as_str()), value);
        }
    } else {
        changes.add(all, annotations.into());
    }
}

/// The ports that Istio's proxy leaves alone, with ours; nothing if ours is among them.
fn excluded_ports(present: Option<&str>) -> Option<String> {
    let ours = ADMIN_PORT.to_string();
    match present {
        None | Some("") => Some(ours),
        Some(ports) if ports.split(',').any(|port| port.trim() == ours) => None,
        Some(ports) => Some(format!("{ports},{ours}")),
    }
}

fn names(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| name(item).to_owned()).collect()
}
