//! What is put into a pod, as JSON: containers, volumes, mounts and variables.

use serde_json::{Value, json};

use super::decision::{Kind, Logs};
use super::names::{
    ADMIN_PORT, AUDIENCE, CONFIG, CONFIG_FILE, IDENTITY, LOGS, PREPARE, PROGRAM, Place, SECRETS,
    SHARED, SIDECAR, SOURCE, STATE,
};
use super::plan::Plan;
use super::pod::{items, name, position};
use super::settings::{Evidence, PullPolicy, Resources, Settings};

/// The user of the sidecar, in no image's list of users.
const USER: u32 = 65_532;
/// Group that may read what container runtimes write.
const LOG_READERS: u32 = 0;
/// Longest time the sidecar takes to stop unless its settings say otherwise.
const STOP_SECONDS: u64 = 20;
/// What is left of a pod's time to stop after the sidecar's.
const STOP_MARGIN_SECONDS: u64 = 2;
/// How long a token is good for.
const TOKEN_SECONDS: u32 = 3600;

const MIB: u64 = 1 << 20;
/// Room for our program.
const PROGRAM_BYTES: u64 = 32 * MIB;
/// Room for a copy of `config.json`, which is smaller than any ConfigMap may be.
const OVERLAY_BYTES: u64 = 2 * MIB;
/// Nothing is written there.
const NO_LOGS_BYTES: u64 = MIB;
/// The sidecar's own output, which counts as its storage.
const LOG_BYTES: u64 = 64 * MIB;

const EPHEMERAL_STORAGE: &str = "ephemeral-storage";

/// The sidecar.
pub(super) fn sidecar(plan: &Plan<'_>, settings: &Settings) -> Value {
    let mut container = json!({
        "name": SIDECAR,
        "image": settings.image,
        "command": [PROGRAM, "run", "--config", format!("{}/config.yaml", CONFIG.path)],
        "env": sidecar_variables(plan),
        "ports": [{ "name": SIDECAR, "containerPort": ADMIN_PORT }],
        "lifecycle": { "postStart": { "exec": { "command": [PROGRAM, "probe", "--wait", "2s"] } } },
        "resources": sidecar_resources(plan, settings),
        "securityContext": security(plan.logs),
        "volumeMounts": sidecar_mounts(plan),
    });
    pull(&mut container, settings);
    if plan.kind == Kind::Native {
        set(&mut container, "restartPolicy", json!("Always"));
    }
    container
}

/// The init container that gives the service's container what it needs.
pub(super) fn prepare(plan: &Plan<'_>, settings: &Settings) -> Value {
    let mut command = vec![json!(PROGRAM), json!("prepare")];
    let mut mounts = vec![mount(SHARED)];
    if plan.logs == Logs::Wrap {
        command.extend([json!("--install"), json!(SHARED.path)]);
    }
    if let Some(overlay) = plan.overlay {
        let (from, to) = (SOURCE, SHARED.path);
        let copy = format!("{from}/{CONFIG_FILE}:{to}/{CONFIG_FILE}");
        command.extend([json!("--overlay"), json!(copy)]);
        mounts.push(json!({ "name": overlay.volume, "mountPath": from }));
    }
    let mut container = json!({
        "name": PREPARE,
        "image": settings.image,
        "command": command,
        "resources": resources(&settings.resources),
        "securityContext": security(Logs::None),
        "volumeMounts": mounts,
    });
    pull(&mut container, settings);
    container
}

/// All volumes.
pub(super) fn volumes(plan: &Plan<'_>, settings: &Settings) -> Vec<Value> {
    let mut volumes = vec![
        empty(STATE, settings.state_bytes_limit),
        json!({ "name": IDENTITY.volume, "projected": { "sources": [
            { "serviceAccountToken": {
                "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
            { "configMap": { "name": "emco-observer-ca", "optional": true,
                "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        ] } }),
        json!({ "name": CONFIG.volume, "configMap": { "name": SIDECAR, "optional": true } }),
        json!({ "name": SECRETS.volume, "secret": { "secretName": SIDECAR, "optional": true } }),
    ];
    match plan.logs {
        Logs::Hostpath => volumes.push(json!({ "name": LOGS.volume,
            "hostPath": { "path": "/var/log/pods", "type": "Directory" } })),
        Logs::Wrap => {}
        Logs::None => volumes.push(empty(LOGS, NO_LOGS_BYTES)),
    }
    if plan.prepares() {
        volumes.push(empty(SHARED, shared_bytes(plan, settings)));
    }
    volumes
}

/// What the service's container mounts.
pub(super) fn service_mounts(plan: &Plan<'_>) -> Vec<Value> {
    let wraps = plan.logs == Logs::Wrap;
    wraps.then(|| mount(SHARED)).into_iter().collect()
}

/// The service's command with ours in front of it.
pub(super) fn wrapped(plan: &Plan<'_>) -> Option<Vec<Value>> {
    if plan.logs != Logs::Wrap {
        return None;
    }
    let output = format!("{}/{}", SHARED.path, name(plan.service));
    let ours = [&program(), "wrap", "--output", &output, "--"];
    let theirs = items(plan.service.get("command"));
    Some(
        ours.map(Value::from)
            .iter()
            .chain(theirs)
            .cloned()
            .collect(),
    )
}

/// The program in the service's container.
pub(super) fn program() -> String {
    format!("{}{PROGRAM}", SHARED.path)
}

/// What the service is told to record, as far as its pod does not say otherwise.
pub(super) fn service_variables(plan: &Plan<'_>) -> Vec<Value> {
    let always = [
        ("OTEL_TRACES_SAMPLER", "always_on"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8192"),
    ];
    let limit = [("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "512")];
    let (always, limit): (&[_], &[_]) = match plan.evidence {
        Evidence::Full => (&always, &[]),
        Evidence::Limited => (&always, &limit),
        Evidence::AsSampled => (&[], &[]),
    };
    let present = items(plan.service.get("env"));
    let wanted = always.iter().chain(limit);
    wanted
        .filter(|(name, _)| position(present, name).is_none())
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect()
}

/// Says when the image is fetched, unless it is what Kubernetes does anyway: each time if it is the
/// latest.
fn pull(container: &mut Value, settings: &Settings) {
    let image = settings.image.as_str();
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    let (tagged, digest) = name.split_once('@').unwrap_or((name, ""));
    let is_fixed = match tagged.split_once(':') {
        Some((_, tag)) => tag != "latest",
        None => !digest.is_empty(),
    };
    let default = if is_fixed {
        PullPolicy::IfNotPresent
    } else {
        PullPolicy::Always
    };
    if settings.image_pull_policy != default {
        set(
            container,
            "imagePullPolicy",
            json!(settings.image_pull_policy),
        );
    }
}

fn sidecar_variables(plan: &Plan<'_>) -> Value {
    let from_pod = [
        ("POD_NAMESPACE", "metadata.namespace"),
        ("POD_NAME", "metadata.name"),
        ("POD_UID", "metadata.uid"),
        ("NODE_NAME", "spec.nodeName"),
        ("EMCO_OBSERVER_SERVICE", "metadata.labels['app']"),
    ];
    let mut variables: Vec<Value> = from_pod
        .map(|(name, path)| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } }))
        .to_vec();
    let mut say =
        |name: &str, value: String| variables.push(json!({ "name": name, "value": value }));
    say("EMCO_OBSERVER_POD_DIR", LOGS.path.to_owned());
    say(
        "EMCO_OBSERVER_ADMIN_LISTEN",
        format!("0.0.0.0:{ADMIN_PORT}"),
    );
    let pod = plan.pod.spec.get("terminationGracePeriodSeconds");
    if let Some(seconds) = pod.and_then(Value::as_u64)
        && seconds < STOP_SECONDS + STOP_MARGIN_SECONDS
    {
        let ours = seconds.saturating_sub(STOP_MARGIN_SECONDS).max(1);
        say("EMCO_OBSERVER_SHUTDOWN_GRACE", format!("{ours}s"));
    }
    variables.into()
}

/// Volumes of ConfigMaps, Secrets and tokens are read-only by themselves.
fn sidecar_mounts(plan: &Plan<'_>) -> Value {
    let logs = match plan.logs {
        Logs::Hostpath => json!({ "name": LOGS.volume, "mountPath": LOGS.path, "readOnly": true,
            "subPathExpr": "$(POD_NAMESPACE)_$(POD_NAME)_$(POD_UID)" }),
        Logs::Wrap => json!({ "name": SHARED.volume, "mountPath": LOGS.path, "readOnly": true }),
        Logs::None => mount(LOGS),
    };
    json!([
        mount(STATE),
        mount(IDENTITY),
        mount(CONFIG),
        mount(SECRETS),
        logs
    ])
}

/// What the sidecar asks of the node. Where another container limits the pod's storage, our volumes
/// would count against that container's limit, and kubelet evict the pod: so our own is added. Where
/// none does, one of ours would be the only limit of the pod, and there is none.
fn sidecar_resources(plan: &Plan<'_>, settings: &Settings) -> Value {
    let mut resources = resources(&settings.resources);
    let limits = |container: &Value| {
        let limits = container.get("resources")?.get("limits")?;
        limits.get(EPHEMERAL_STORAGE).map(|_| ())
    };
    if plan
        .pod
        .all_containers()
        .any(|container| limits(container).is_some())
    {
        let of_logs = match plan.logs {
            Logs::None => NO_LOGS_BYTES,
            Logs::Hostpath | Logs::Wrap => 0,
        };
        let ours = LOG_BYTES + settings.state_bytes_limit + of_logs + shared_bytes(plan, settings);
        for (part, amount) in [("limits", bytes(ours)), ("requests", "0".to_owned())] {
            if let Some(part) = resources.get_mut(part) {
                set(part, EPHEMERAL_STORAGE, amount.into());
            }
        }
    }
    resources
}

/// What may lie in the volume that we share with the service's container.
fn shared_bytes(plan: &Plan<'_>, settings: &Settings) -> u64 {
    let of_wrap = match plan.logs {
        Logs::Wrap => PROGRAM_BYTES + settings.output_bytes_limit,
        Logs::Hostpath | Logs::None => 0,
    };
    of_wrap + plan.overlay.map_or(0, |_| OVERLAY_BYTES)
}

fn resources(of: &Resources) -> Value {
    let mut resources = json!({
        "requests": {
            "cpu": format!("{}m", of.cpu_millicores_request),
            "memory": bytes(of.memory_bytes_request),
        },
        "limits": { "memory": bytes(of.memory_bytes_limit) },
    });
    if let (Some(limit), Some(limits)) = (of.cpu_millicores_limit, resources.get_mut("limits")) {
        set(limits, "cpu", format!("{limit}m").into());
    }
    resources
}

/// What the strictest Pod Security level asks for. To read the node's log files it takes their group,
/// not their owner.
fn security(logs: Logs) -> Value {
    let group = match logs {
        Logs::Hostpath => LOG_READERS,
        Logs::Wrap | Logs::None => USER,
    };
    json!({
        "runAsUser": USER,
        "runAsGroup": group,
        "runAsNonRoot": true,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] },
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn mount(place: Place) -> Value {
    json!({ "name": place.volume, "mountPath": place.path })
}

fn empty(place: Place, limit: u64) -> Value {
    json!({ "name": place.volume, "emptyDir": { "sizeLimit": bytes(limit) } })
}

/// A quantity as Kubernetes writes it itself: what it would write otherwise looks like a change.
fn bytes(amount: u64) -> String {
    match amount {
        _ if amount == 0 || !amount.is_multiple_of(1024) => amount.to_string(),
        _ if !amount.is_multiple_of(MIB) => format!("{}Ki", amount / 1024),
        _ if !amount.is_multiple_of(1024 * MIB) => format!("{}Mi", amount / MIB),
        _ => format!("{}Gi", amount / (1024 * MIB)),
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
