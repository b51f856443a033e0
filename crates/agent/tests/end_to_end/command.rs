//! What an operator types and reads.

use std::process::Output;

use crate::common::bulk::Server;
use crate::common::sidecar::Setup;

/// Exit code, standard output and standard error, as they are shown in snapshots.
fn shown(output: &Output, setup: &Setup) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let code = output.status.code().unwrap();
    let whole = format!(
        "exit {code}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    let folder = setup.folder.path().to_str().unwrap();
    let trimmed = whole.replace(folder, "<folder>");
    let lines: Vec<_> = trimmed.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[tokio::test]
async fn help() {
    let setup = Setup::new();
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["check", "--help"],
        &["probe", "--help"],
        &["wrap", "--help"],
        &["prepare", "--help"],
        &["sing"],
    ] {
        let output = setup.run_to_end(arguments).await;
        let words = arguments.join("_").replace("--", "");
        let name = format!("says_{words}");
        insta::assert_snapshot!(name, shown(&output, &setup));
    }
}

#[tokio::test]
async fn check() {
    let setup = Setup::new();
    let file = |text: &str| {
        let path = setup.folder.path().join("settings.yaml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = "service: clm\nlogs: {pod_dir: /var/log/pods/emco_clm-1_u}\nlanes: {forward: {address: \"127.0.0.1:24224\"}}\n";
    let to = |lane: &str| good.replace("forward: {address: \"127.0.0.1:24224\"}", lane);
    for (name, text) in [
        ("check_bad_url", to("elastic: {url: \"localhost:9200\"}")),
        (
            "check_bad_forward_address",
            to("forward: {address: \"http://a:1\"}"),
        ),
        (
            "check_half_a_login",
            to("elastic: {url: \"http://a:1\", username: me}"),
        ),
        (
            "check_bad_hub",
            format!("{good}hub: {{addresses: [\"a b\"]}}\n"),
        ),
        (
            "check_bad_log_level",
            format!("{good}log_level: info,hub=loud\n"),
        ),
        ("check_bad_pod_dir", good.replace("emco_clm-1_u", "clm")),
        ("check_good", good.to_owned()),
        ("check_unknown_key", good.replace("lanes:", "lane:")),
        (
            "check_unknown_key_inside",
            good.replace("address:", "adress:"),
        ),
        (
            "check_bad_time",
            format!("{good}attribution: {{wait: soon}}\n"),
        ),
        (
            "check_bad_address",
            format!("{good}spans: {{listen: here}}\n"),
        ),
        ("check_no_YAML", format!("{good}spans: [\n")),
        (
            "check_nothing_to_follow",
            good.replace("{pod_dir: /var/log/pods/emco_clm-1_u}", "{}"),
        ),
        (
            "check_nowhere_to_deliver",
            good.replace("{forward: {address: \"127.0.0.1:24224\"}}", "{}"),
        ),
        ("check_no_service", good.replace("service: clm", "")),
        (
            "check_unknown_service",
            good.replace("service: clm", "service: Orchestratr"),
        ),
        (
            "check_a_pattern",
            good.replace(
                "pod_dir: /var/log/pods/emco_clm-1_u",
                "files: [/var/log/*.log]",
            ),
        ),
        (
            "check_one_port_for_two",
            format!("{good}admin: {{listen: \"127.0.0.1:9411\"}}\n"),
        ),
        ("check_a_key_twice", format!("{good}service: dcm\n")),
    ] {
        let output = setup.run_to_end(&["check", "--config", &file(&text)]).await;
        insta::assert_snapshot!(name, shown(&output, &setup));
    }
    let missing = setup.folder.path().join("missing.yaml");
    let missing = ["check", "--config", missing.to_str().unwrap()];
    let output = setup.run_to_end(&missing).await;
    insta::assert_snapshot!("check_missing_file", shown(&output, &setup));
    let output = setup
        .variable("EMCO_OBSERVER_SPANS_LISTEN", "here")
        .run_to_end(&["check"])
        .await;
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("EMCO_OBSERVER_SPANS_LISTEN: `spans.listen` is \"here\""),
        "{said}"
    );
}

/// The whole file that the documentation shows is one that can be used.
#[tokio::test]
async fn check_the_documented_file() {
    let setup = Setup::new();
    let page = include_str!("../../../../docs/configuration.md");
    let (_, rest) = page.split_once("```yaml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let path = setup.folder.path().join("example.yaml");
    std::fs::write(&path, example).unwrap();
    let arguments = ["check", "--config", path.to_str().unwrap()];
    let output = setup.run_to_end(&arguments).await;
    assert_eq!(shown(&output, &setup), "exit 0\nsettings are fine");
}

#[tokio::test]
async fn probe() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let address = setup.admin.to_string();
    let arguments = ["probe", "--address", &address];
    let output = setup.run_to_end(&arguments).await;
    assert_eq!(output.status.code(), Some(1), "nobody is there");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is the sidecar running there?"), "{said}");
    setup.service().logrus("there is something to follow");
    let sidecar = setup.start().await;
    elastic.store.arrived_lines(1).await;
    let output = setup.run_to_end(&arguments).await;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"{\"status\":\"ok\"}\n");
    assert!(sidecar.terminate().await.success());
    // A hook waits for one, and succeeds in any case.
    let wait = |time| [&arguments[..], &["--wait", time]].concat();
    for (time, said) in [
        ("50ms", "is the sidecar running there?"),
        ("soon", "is no time such as"),
    ] {
        let output = setup.run_to_end(&wait(time)).await;
        assert_eq!(output.status.code(), Some(0));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(said), "{error}");
    }
    let patient = wait("1m");
    let (output, sidecar) = tokio::join!(setup.run_to_end(&patient), setup.start());
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"{\"status\":\"ok\"}\n");
    assert!(sidecar.terminate().await.success());
    // Something else answers there.
    let elsewhere = elastic.address.to_string();
    let output = setup.run_to_end(&["probe", "--address", &elsewhere]).await;
    assert_eq!(output.status.code(), Some(1));
}
