//! What is constant for the documents of one container.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use in_tail::ContainerInfo;
use model::document::Constants;

/// Version of the Elastic Common Schema that the field names follow.
const ECS_VERSION: &str = "9.0.0";

/// The constants of every container, by name. Shared between the head, which meets containers, and
/// the lanes, which make documents.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    revision: AtomicU64,
    containers: Mutex<HashMap<(String, u32), Arc<Constants>>>,
    pod: Mutex<Pod>,
}

#[derive(Clone, Debug, Default)]
struct Pod {
    service: String,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

impl Origins {
    /// Of a pod in which `service` runs.
    pub fn new(service: &str) -> Self {
        let origins = Self::default();
        service.clone_into(&mut lock(&origins.shared.pod).service);
        origins
    }

    /// A container was met: its pod is known now.
    pub fn met(&self, info: &ContainerInfo) {
        let Some(identity) = &info.pod else { return };
        let mut pod = lock(&self.shared.pod);
        pod.namespace = Some(identity.namespace.clone());
        pod.name = Some(identity.name.clone());
        pod.uid = Some(identity.uid.clone());
        lock(&self.shared.containers).clear();
    }

    /// The constants of `container` in its run number `restart`.
    pub fn of(&self, container: &str, restart: u32) -> Arc<Constants> {
        let mut containers = lock(&self.shared.containers);
        let constants = containers
            .entry((container.to_owned(), restart))
            .or_insert_with(|| Arc::new(self.make(container, restart)));
        Arc::clone(constants)
    }

    fn make(&self, container: &str, restart: u32) -> Constants {
        let pod = lock(&self.shared.pod);
        let mut fields = vec![
            ("ecs.version", ECS_VERSION.to_owned()),
            ("service.name", pod.service.clone()),
            ("kubernetes.container.name", container.to_owned()),
            ("log.file.path", format!("{container}/{restart}.log")),
        ];
        let of_pod = [
            ("kubernetes.namespace", &pod.namespace),
            ("kubernetes.pod.name", &pod.name),
            ("kubernetes.pod.uid", &pod.uid),
        ];
        let known = of_pod
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)));
        fields.extend(known);
        let revision = self.shared.revision.fetch_add(1, Ordering::Relaxed) + 1;
        Constants { revision, fields }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
