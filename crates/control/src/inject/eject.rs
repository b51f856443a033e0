//! The way back: everything that the status annotation names is taken out, and what was changed is
//! as it was.
//!
//! Containers and volumes are found by name, wherever others have moved them.

use json_patch::PatchOperation;
use json_patch::jsonptr::PointerBuf;
use serde_json::Value;

use super::changes::{below, path, remove, replace};
use super::decision::Logs;
use super::names::{ADMIN_PORT, CONFIG_FILE, EXCLUDED_PORTS, SHARED, STATUS, is_ours};
use super::pod::{Pod, items, name, position};
use super::render;
use super::status::Status;

/// How a pod loses its sidecar.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) operations: Vec<PatchOperation>,
    /// Whether all was there that the status names.
    pub(super) complete: bool,
}

impl Removal {
    /// For `pod`, in which `status` says what is ours.
    pub(super) fn new(pod: Pod<'_>, status: &Status) -> Self {
        let mut removal = Self {
            operations: Vec::new(),
            complete: true,
        };
        removal.service(pod, status);
        removal.spec(pod, status);
        removal.annotations(pod, status);
        removal
    }

    fn service(&mut self, pod: Pod<'_>, status: &Status) {
        let containers = pod.containers();
        let index = position(containers, &status.service);
        let Some((index, service)) = index.and_then(|at| Some((at, containers.get(at)?))) else {
            self.complete = false;
            return;
        };
        let container = below(&path(["spec", "containers"]), index);
        if status.logs == Logs::Wrap.name() {
            match unwrapped(items(service.get("command"))) {
                Some(command) => {
                    let command = Value::from(command.to_vec());
                    let path = below(&container, "command");
                    self.operations.push(replace(path, command));
                }
                None => self.complete = false,
            }
        }
        let mounts = below(&container, "volumeMounts");
        let overlay = overlaid(service);
        if let Some(volume) = &status.overlay {
            match overlay {
                Some(mount) => {
                    let path = below(&below(&mounts, mount), "name");
                    self.operations.push(replace(path, volume.as_str().into()));
                }
                None => self.complete = false,
            }
        }
        let restore = |key: &str| status.restore.get(key);
        let overlay = status.overlay.as_ref().and(overlay);
        let present = service.get("volumeMounts");
        let is_mount = |index, item: &Value| is_ours(name(item)) && Some(index) != overlay;
        self.items(mounts, present, is_mount, restore("volumeMounts"));
        let is_variable = |_, item: &Value| status.env.iter().any(|ours| ours == name(item));
        let (env, present) = (below(&container, "env"), service.get("env"));
        let found = self.items(env, present, is_variable, restore("env"));
        self.complete &= found == status.env.len();
    }

    fn spec(&mut self, pod: Pod<'_>, status: &Status) {
        let mut of = |list: &str, is_ours: &dyn Fn(&str) -> bool| {
            let is_ours = |_, item: &Value| is_ours(name(item));
            let (present, restore) = (pod.spec.get(list), status.restore.get(list));
            self.items(path(["spec", list]), present, is_ours, restore)
        };
        let containers = of("containers", &is_ours) + of("initContainers", &is_ours);
        let volumes = of("volumes", &is_ours);
        let secrets = &status.image_pull_secrets;
        let found = of("imagePullSecrets", &|name| {
            secrets.iter().any(|ours| ours == name)
        });
        self.complete &= containers == containers_of(status)
            && volumes == volumes_of(status)
            && found == secrets.len();
    }

    fn annotations(&mut self, pod: Pod<'_>, status: &Status) {
        let all = path(["metadata", "annotations"]);
        let present = pod.metadata.get("annotations").and_then(Value::as_object);
        let mut left = present.map_or(0, serde_json::Map::len);
        let mut operations = Vec::new();
        for key in status
            .annotations
            .iter()
            .map(String::as_str)
            .chain([STATUS])
        {
            let Some(value) = pod.annotation(key) else {
                self.complete = false;
                continue;
            };
            let at = below(&all, key);
            let before = match key {
                EXCLUDED_PORTS => ports_before(value, status),
                _ => None,
            };
            if let Some(ports) = before {
                operations.push(replace(at, ports.into()));
            } else {
                left = left.saturating_sub(1);
                operations.push(remove(at));
            }
        }
        if left > 0 {
            self.operations.extend(operations);
        } else if present.is_some() {
            self.operations
                .push(match status.restore.get("annotations") {
                    Some(before) => replace(all, before.clone()),
                    None => remove(all),
                });
        }
    }

    /// Takes the items whose name is ours out of `present`, and the whole list if nothing else is
    /// in it and it was not there `before`. Returns how many there were.
    fn items(
        &mut self,
        list: PointerBuf,
        present: Option<&Value>,
        is_ours: impl Fn(usize, &Value) -> bool,
        before: Option<&Value>,
    ) -> usize {
        let present = items(present);
        let found = (0..)
            .zip(present)
            .filter(|(index, item)| is_ours(*index, item));
        let found: Vec<usize> = found.map(|(index, _)| index).collect();
        if found.len() == present.len() && !found.is_empty() {
            self.operations.push(match before {
                Some(before) => replace(list, before.clone()),
                None => remove(list),
            });
        } else {
            let last_first = found.iter().rev();
            let each = last_first.map(|index| remove(below(&list, *index)));
            self.operations.extend(each);
        }
        found.len()
    }
}

/// How many containers a sidecar has that is as `status` says.
fn containers_of(status: &Status) -> usize {
    1 + usize::from(status.logs == Logs::Wrap.name() || status.overlay.is_some())
}

/// How many volumes.
fn volumes_of(status: &Status) -> usize {
    let wraps = status.logs == Logs::Wrap.name();
    4 + usize::from(!wraps) + usize::from(wraps || status.overlay.is_some())
}

/// Where the mount of `config.json` is that points to our copy.
fn overlaid(service: &Value) -> Option<usize> {
    let mut mounts = items(service.get("volumeMounts")).iter();
    mounts.position(|mount| {
        let file = mount.get("subPath").and_then(Value::as_str);
        name(mount) == SHARED.volume && file == Some(CONFIG_FILE)
    })
}

/// The service's own part of a wrapped command.
fn unwrapped(command: &[Value]) -> Option<&[Value]> {
    let program = render::program();
    let [first, second, ..] = command else {
        return None;
    };
    if first.as_str() != Some(&program) || second.as_str() != Some("wrap") {
        return None;
    }
    let end = command
        .iter()
        .position(|word| word.as_str() == Some("--"))?;
    command.get(end + 1..)
}

/// What the annotation of excluded ports was, if it was there.
fn ports_before(value: &str, status: &Status) -> Option<String> {
    if let Some(before) = status.restore.get(EXCLUDED_PORTS) {
        return before.as_str().map(str::to_owned);
    }
    let before = value
        .strip_suffix(&ADMIN_PORT.to_string())?
        .strip_suffix(',')?;
    Some(before.to_owned())
}
