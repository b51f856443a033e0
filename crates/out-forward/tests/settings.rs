//! Settings as operators write them.
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use out_forward::{Compression, Error, Forward, ForwardSettings, Metrics};

fn read(yaml: &str) -> Result<ForwardSettings, String> {
    serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
}

#[test]
fn an_endpoint_is_enough() {
    let settings = read("endpoint: fluentd:24224").unwrap();
    assert_eq!(
        settings,
        ForwardSettings::new("fluentd:24224".parse().unwrap())
    );
    assert_eq!(settings.compression, Compression::None);
}

#[test]
fn everything_can_be_said() {
    let settings = read(
        "endpoint: fluentd:24224\ntag: emco.prod\ncompression: gzip\nin_flight_max: 8\n\
         tls: {ca_file: /tls/ca.crt}\nshared_key_file: /secrets/key\nusername: alice\n\
         password_file: /secrets/password\n",
    )
    .unwrap();
    assert_eq!(settings.in_flight_max, 8);
    assert!(settings.tls.is_some());
}

#[test]
fn mistakes_are_told() {
    for (yaml, word) in [
        ("endpoint: fluentd", "port is missing"),
        ("endpoint: fluentd:24224\nshared_key: hunter2", "shared_key"),
        ("endpoint: fluentd:24224\ncompression: zstd", "zstd"),
        ("tag: x", "endpoint"),
    ] {
        let error = read(yaml).unwrap_err();
        assert!(error.contains(word), "{yaml}: {error}");
    }
}

#[test]
fn contradictions_are_told() {
    let endpoint = "endpoint: fluentd:24224\n";
    for (yaml, word) in [
        (
            "endpoint: http://fluentd:24224".to_owned(),
            "without http://",
        ),
        (format!("{endpoint}in_flight_max: 0"), "in_flight_max"),
        (format!("{endpoint}username: alice"), "go together"),
        (
            format!("{endpoint}username: alice\npassword_file: /p"),
            "shared_key_file",
        ),
    ] {
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let error = Forward::new(read(&yaml).unwrap(), metrics).unwrap_err();
        assert!(matches!(error, Error::Settings(_)));
        assert!(error.to_string().contains(word), "{yaml}: {error}");
    }
}
