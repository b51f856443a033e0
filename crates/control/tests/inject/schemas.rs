//! What every version of Kubernetes says about the pods that come out, if its schemas are installed.

use control::inject::{LogMode, Settings, SidecarKind};

use crate::common::{applied, as_pod, cluster, injected, services};

#[test]
fn pods_with_sidecars_are_pods_in_every_version() {
    let mut pods = Vec::new();
    for template in services() {
        for (logs, sidecar) in [
            (LogMode::Hostpath, SidecarKind::Native),
            (LogMode::Wrap, SidecarKind::Native),
            (LogMode::None, SidecarKind::Plain),
        ] {
            let settings = Settings {
                logs,
                sidecar,
                ..Settings::default()
            };
            let pod = as_pod(&template, "pod");
            let injection = injected(&pod, &settings, &cluster(34));
            pods.push(applied(&pod, &injection));
        }
    }
    let Some(mistakes) = testkit::peers::check_schemas(&pods) else {
        return;
    };
    assert_eq!(mistakes, []);
}
