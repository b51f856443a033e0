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
        ("EMCO_OBSERVER_ELASTIC_URL", "https://es:9200"),
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

/// What nobody can follow is said before anybody waits for its lines.
#[test]
fn files_that_cannot_be_followed_are_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().display().to_string();
    for (file, what) in [
        ("", "is empty; write the whole path"),
        ("clm.log", "is \"clm.log\", but has to be a whole path"),
        ("/var/log/*.log", "has a *, but patterns are not expanded"),
        ("/var/log/clm.log.?", "has a ?, but patterns"),
        ("/var/log/[ab].log", "has a [, but patterns"),
        (directory.as_str(), "is a directory; name the files in it"),
    ] {
        let text = GOOD.replace(
            "{pod_dir: /var/log/pods/a_b_c}",
            &format!("{{files: [/var/log/good.log, \"{file}\"]}}"),
        );
        let shown = load(&text, &[]).unwrap_err();
        let said = format!("settings:2:35: `logs.files[1]` {what}");
        assert!(shown.starts_with(&said), "{file:?}: {shown}");
        assert!(
            shown.contains("\n    |                                   ^"),
            "{shown}"
        );
        assert!(shown.ends_with("1 mistake in the settings"), "{shown}");
    }
    let absent = GOOD.replace(
        "{pod_dir: /var/log/pods/a_b_c}",
        &format!("{{files: [\"{directory}/later.log\"]}}"),
    );
    load(&absent, &[]).unwrap();
}

/// What is right one by one and cannot be meant together: (more settings, place, what is said).
const CONTRADICTIONS: [(&str, &str, &str); 18] = [
    (
        "admin: {listen: \"127.0.0.1:9411\"}",
        "5:17",
        "two listeners cannot have one port",
    ),
    (
        "admin: {listen: \"0.0.0.0:9411\"}",
        "5:17",
        "two listeners cannot have one port",
    ),
    (
        "spans: {listen: \"127.0.0.1:9464\"}",
        "5:17",
        "two listeners cannot have one port",
    ),
    (
        "state_dir: /var/log/pods/a_b_c",
        "5:12",
        "is the same directory as `logs.pod_dir`",
    ),
    (
        "state_dir: /var/log/pods/a_b_c/state",
        "5:12",
        "is inside `logs.pod_dir`",
    ),
    (
        "state_dir: /var/log/pods",
        "5:12",
        "is around `logs.pod_dir`",
    ),
    ("state_dir: \"\"", "5:12", "`state_dir` is empty"),
    (
        "hub: {addresses: [\"http://a:1\", \"http://b:1\", \"http://a:1/\"]}",
        "5:47",
        "as `hub.addresses[0]` is",
    ),
    (
        "lanes: {forward: {address: \"f:1\", tag: \"\"}}",
        "4:40",
        "`lanes.forward.tag` is empty",
    ),
    (
        "lanes: {forward: {address: \"f:1\", tls: {cert_file: /c}}}",
        "4:52",
        "needs `key_file` beside it",
    ),
    (
        "lanes: {elastic: {url: \"https://e:1\", tls: {cert_file: /c}}}",
        "4:56",
        "needs `key_file` beside it",
    ),
    (
        "lanes: {otlp: {url: \"https://o:1\", tls: {key_file: /k}}}",
        "4:52",
        "needs `cert_file` beside it",
    ),
    (
        "lanes: {elastic: {url: \"http://e:1\", tls: {ca_file: /c}}}",
        "4:43",
        "is of no use while `lanes.elastic.url` begins with http://",
    ),
    (
        "lanes: {otlp: {url: \"http://o:1\", tls: {server_name: n}}}",
        "4:40",
        "is of no use while `lanes.otlp.url` begins with http://",
    ),
    (
        "hub: {addresses: [\"http://h:1\"], tls: {ca_file: /c}}",
        "5:39",
        "is of no use while none of `hub.addresses` begins with https://",
    ),
    (
        "hub: {addresses: [\"https://h:1\"], tls: {cert_file: /c}}",
        "5:52",
        "needs `key_file` beside it",
    ),
    (
        "lanes: {elastic: {url: \"http://e:1\", username: \"\", password_file: /p}}",
        "4:48",
        "`lanes.elastic.username` is empty",
    ),
    (
        "lanes: {forward: {address: \"f:1\", username: \" \", password_file: /p, shared_key_file: /k}}",
        "4:45",
        "`lanes.forward.username` is empty",
    ),
];

/// [`GOOD`] with more settings, or other lanes.
fn with(more: &str) -> String {
    if more.starts_with("lanes") {
        let kept: Vec<&str> = GOOD.lines().take(3).collect();
        return format!("{}\n{more}\n", kept.join("\n"));
    }
    format!("{GOOD}{more}\n")
}

#[test]
fn settings_that_contradict_each_other_are_mistakes() {
    for (more, place, what) in CONTRADICTIONS {
        let shown = load(&with(more), &[]).unwrap_err();
        assert!(
            shown.starts_with(&format!("settings:{place}: ")),
            "{more}: {shown}"
        );
        assert!(shown.contains(what), "{more}: {shown}");
        assert!(
            shown.ends_with("1 mistake in the settings"),
            "{more}: {shown}"
        );
    }
    let variable = [("EMCO_OBSERVER_ADMIN_LISTEN", "127.0.0.1:9411")];
    let shown = load(GOOD, &variable).unwrap_err();
    assert!(
        shown.starts_with("EMCO_OBSERVER_ADMIN_LISTEN: `admin.listen` is"),
        "{shown}"
    );
}

/// Set-ups that work are left alone.
#[test]
fn settings_that_only_look_alike_are_fine() {
    for more in [
        "admin: {listen: \"127.0.0.2:9411\"}",
        "admin: {listen: \"127.0.0.1:0\"}\nspans: {listen: \"127.0.0.1:0\"}",
        "state_dir: /var/log/pods/a_b_c-state",
        "hub: {addresses: [\"http://a:1\", \"http://a:2\"]}",
        "lanes: {elastic: {url: \"http://e:1\", tls: {}}}",
        "lanes: {elastic: {url: \"http://e:1\", tls: }}",
        "service: billing",
    ] {
        let text = match more.strip_prefix("service: ") {
            Some(other) => GOOD.replace("clm", other),
            None => with(more),
        };
        let loaded = load(&text, &[]);
        assert!(loaded.is_ok(), "{more}: {}", loaded.unwrap_err());
    }
    // what is not understood is said once, and not compared as if it were the default
    let shown = load(
        &with("spans: {listen: here}\nadmin: {listen: \"127.0.0.1:9411\"}"),
        &[],
    );
    assert!(shown.unwrap_err().ends_with("1 mistake in the settings"));
}
