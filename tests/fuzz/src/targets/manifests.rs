//! Files of manifests, which get sidecars and lose them again.

use control::inject::{
    Evidence, KubernetesVersion, LogMode, Namespace, PodSecurity, Settings, SidecarKind,
    Surroundings,
};
use control::manifests::{eject, inject};

use crate::input::Input;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let settings = Settings {
        logs: input.one_of(&[LogMode::Wrap, LogMode::Auto, LogMode::None]),
        sidecar: input.one_of(&[SidecarKind::Auto, SidecarKind::Optional]),
        evidence: input.one_of(&[Evidence::Limited, Evidence::Full, Evidence::AsSampled]),
        overlay: input.byte() % 4 != 1,
        ..Settings::default()
    };
    let version = input.one_of(&[
        Some(KubernetesVersion::new(1, 30)),
        Some(KubernetesVersion::new(1, 27)),
        None,
    ]);
    let surroundings = Surroundings {
        server: version,
        oldest_node: version,
        namespace: Namespace {
            inject: Some(true),
            pod_security: input.one_of(&[PodSecurity::Privileged, PodSecurity::Baseline]),
            ..Namespace::default()
        },
    };
    let Ok(text) = std::str::from_utf8(input.rest()) else {
        return;
    };
    let Ok((bare, _)) = eject(text) else {
        assert!(inject(text, &settings, &surroundings).is_err());
        return;
    };
    let injected = |text: &str| {
        let (text, report) = inject(text, &settings, &surroundings).expect("it was read before");
        assert!(!report.failed(), "{report}");
        text
    };
    let with = injected(&bare);
    assert_eq!(
        injected(&with),
        with,
        "there is nothing to do the second time"
    );
    let (without, report) = eject(&with).expect("what was written is read");
    assert!(!report.failed(), "{report}");
    // written the same, it has the same in it
    assert_eq!(
        injected(&without),
        with,
        "without the sidecar it is what it was"
    );
    if with == bare {
        assert_eq!(without, bare, "what was not changed keeps its bytes");
    }
}
