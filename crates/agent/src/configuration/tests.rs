use super::*;
use crate::units::Time;

const GOOD: &str = "service: clm\nlogs: {pod_dir: /var/log/pods/a_b_c}\nattribution: {wait: 500ms}\nlanes: {forward: {address: \"127.0.0.1:24224\"}}\n";

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let owned = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sources = Sources {
        variables: Variables::from(owned),
        ..Sources::default()
    };
    sources
        .settings(text)
        .map_err(|list| Mistakes::new(None, text, list).to_string())
}

#[test]
fn a_file_is_read_and_variables_win() {
    let settings = load(GOOD, &[("EMCO_OBSERVER_SERVICE", "dcm")]).unwrap();
    assert_eq!(settings.attribution.wait, Time::millis(500));
    assert_eq!(settings.service, "dcm");
}

#[test]
fn variables_alone_are_enough() {
    let variables = [
        ("EMCO_OBSERVER_SERVICE", "clm"),
        ("EMCO_OBSERVER_POD_DIR", "/var/log/pods/a_b_c"),
        ("EMCO_OBSERVER_ELASTIC_URL", "http://es:9200"),
        ("EMCO_OBSERVER_ELASTIC_TLS_CA_FILE", "/ca.pem"),
        ("EMCO_OBSERVER_HUB_ADDRESSES", "http://a:1, http://b:1"),
        ("EMCO_OBSERVER_WAIT", "0s"),
    ];
    let settings = load("", &variables).unwrap();
    let elastic = settings.lanes.elastic.unwrap();
    assert_eq!(elastic.tls.ca_file.unwrap().to_str(), Some("/ca.pem"));
    assert_eq!(settings.hub.addresses, ["http://a:1", "http://b:1"]);
    assert_eq!(settings.attribution.wait, Time::seconds(0));
}

#[test]
fn a_pod_knows_where_its_logs_are() {
    let variables = [
        ("EMCO_OBSERVER_SERVICE", "clm"),
        ("EMCO_OBSERVER_FORWARD_ADDRESS", "fluentd:24224"),
    ];
    let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pod = PodIdentity {
        namespace: "emco".to_owned(),
        name: "clm-0".to_owned(),
        uid: "5c3e".to_owned(),
    };
    let sources = Sources {
        variables: Variables::from(owned),
        pod: Some(pod),
        ..Sources::default()
    };
    let settings = sources.settings("").unwrap();
    let expected = Path::new("/var/log/pods/emco_clm-0_5c3e");
    assert_eq!(settings.logs.pod_dir.as_deref(), Some(expected));
}

/// All kinds of mistakes in one file: each is said, with its place.
#[test]
fn every_mistake_is_said_at_once() {
    let text = r#"service: clm
state_dri: /state
logs: {pod_dir: /var/log/pods/a_b_c, files: /var/log/a.log}
spans:
  listen: here
  disk_bytes_max: 10
  keep: soon
attribution: {wait: 1m}
hub: {addresses: ["http://hub:8080", "a b"]}
lanes:
  forward: {address: "http://fluentd:24224", compression: gzpi}
  elastic:
    url: "elasticsearch:9200"
    tls: {ca: /ca.pem}
    request_timeout: 0s
log_level: loud
"#;
    let shown = load(text, &[("EMCO_OBSERVER_SHUTDOWN_GRACE", "20")]).unwrap_err();
    insta::assert_snapshot!(shown);
}

#[test]
fn what_is_missing_is_said() {
    for (text, missing) in [
        ("", "service"),
        ("service: clm", "logs.pod_dir"),
        ("service: clm\nlogs: {files: [/a]}", "lanes.forward"),
    ] {
        let shown = load(text, &[]).unwrap_err();
        assert!(shown.contains(missing), "{shown}");
    }
}

/// What was meant by a misspelt key is not missing as well.
#[test]
fn a_misspelt_section_is_one_mistake() {
    let shown = load(&GOOD.replace("lanes:", "lane:"), &[]).unwrap_err();
    assert!(shown.ends_with("1 mistake in the settings"), "{shown}");
    let shown = load(&GOOD.replace("address:", "adress:"), &[]).unwrap_err();
    assert!(shown.ends_with("1 mistake in the settings"), "{shown}");
}

#[test]
fn a_password_in_an_url_is_not_repeated() {
    let text = GOOD.replace("\"127.0.0.1:24224\"", "\"me:hunter2@fluentd:24224\"");
    let shown = load(&text, &[]).unwrap_err();
    assert!(
        shown.contains("come from files") && !shown.contains("hunter2"),
        "{shown}"
    );
}
