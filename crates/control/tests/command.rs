//! The program itself: what comes out of it, and how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_emco-observer-control"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_file_goes_in_and_comes_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let result = folder.path().join("with.yaml");
    let file = fixture("rsync.yaml");
    let arguments = [
        "inject",
        "-f",
        file.to_str().unwrap(),
        "-o",
        result.to_str().unwrap(),
    ];
    let done = run(
        &[
            &arguments[..],
            &[
                "--kubernetes-version",
                "v1.31.2",
                "--pod-security",
                "baseline",
            ],
        ]
        .concat(),
        "",
    );
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(text(&done.stdout), "");
    insta::assert_snapshot!("inject_report", text(&done.stderr));

    let done = run(&["eject", "-f", result.to_str().unwrap()], "");
    assert!(done.status.success());
    let before: serde_json::Value =
        serde_saphyr::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let after: serde_json::Value = serde_saphyr::from_slice(&done.stdout).unwrap();
    assert_eq!(before, after);
}

#[test]
fn whole_charts_go_in_and_come_out_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/manifests");
    let Ok(files) = folder.read_dir() else { return };
    for file in files {
        let chart = String::from_utf8(std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let inject = |input: &str| {
            let done = run(&["inject", "--kubernetes-version", "1.34"], input);
            assert!(done.status.success(), "{}", text(&done.stderr));
            done
        };
        let with = inject(&chart);
        let injected = text(&with.stderr).matches("  injected  ").count();
        // the services are in two of the files
        assert!(injected == 0 || injected == 20, "{injected}");
        assert_eq!(injected == 0, with.stdout == chart.as_bytes());
        assert_eq!(inject(text(&with.stdout)).stdout, with.stdout);
        let without = run(&["eject"], text(&with.stdout));
        let values = |manifests: &str| -> Vec<serde_json::Value> {
            serde_saphyr::from_multiple(manifests).unwrap()
        };
        assert!(values(text(&without.stdout)) == values(&chart));
    }
}

#[test]
fn stdin_to_stdout() {
    let mongo = std::fs::read(fixture("mongo.yaml")).unwrap();
    let done = run(&["inject"], text(&mongo));
    assert!(done.status.success());
    assert_eq!(done.stdout, mongo);
    assert!(
        text(&done.stderr)
            .starts_with("StatefulSet/emco-mongo  skipped   the pod label app is emco-mongo")
    );
}

#[test]
fn flags_win_over_the_file_of_settings() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings.yaml");
    std::fs::write(&settings, "image: one:1\nlogs: none\noverlay: true\n").unwrap();
    let file = fixture("orchestrator.yaml");
    let settings = ["--settings", settings.to_str().unwrap()];
    let arguments = [
        "inject",
        "-f",
        file.to_str().unwrap(),
        "--image",
        "two:2",
        "--no-overlay",
    ];
    let done = run(&[&arguments[..], &settings].concat(), "");
    let (said, manifest) = (text(&done.stderr), text(&done.stdout));
    assert!(
        said.contains("plain sidecar, no lines, no overlay"),
        "{said}"
    );
    assert!(manifest.contains("image: two:2") && !manifest.contains("one:1"));
}

#[test]
fn mistakes_end_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("settings.yaml");
    for (content, said) in [
        ("imgae: x\n", "imgae"),
        ("image: \"\"\n", "image"),
        ("logs: everywhere\n", "everywhere"),
        ("state_bytes_limit: 1\n", "state_bytes_limit"),
    ] {
        std::fs::write(&settings, content).unwrap();
        let done = run(&["inject", "--settings", settings.to_str().unwrap()], "");
        assert_eq!(done.status.code(), Some(64), "{content}");
        let error = text(&done.stderr);
        assert!(
            error.contains(said) && error.contains("settings.yaml"),
            "{error}"
        );
    }
    let done = run(&["inject", "--image", "a b"], "");
    assert_eq!(done.status.code(), Some(64), "{}", text(&done.stderr));
    let done = run(&["inject", "-f", "-"], "kind: {");
    assert_eq!(done.status.code(), Some(1));
    assert!(
        text(&done.stderr).contains("document 1"),
        "{}",
        text(&done.stderr)
    );
    let done = run(&["inject", "-f", "no such file"], "");
    assert_eq!(done.status.code(), Some(1));
    let done = run(&["inject", "--logs", "x"], "");
    assert!(
        text(&done.stderr).contains("expected one of `auto`"),
        "{}",
        text(&done.stderr)
    );
}

#[test]
fn helps() {
    for (name, arguments) in [
        ("help", ["--help"].as_slice()),
        ("help_inject", &["inject", "--help"]),
        ("help_status", &["status", "--help"]),
    ] {
        let done = run(arguments, "");
        insta::assert_snapshot!(name, text(&done.stdout));
    }
}
