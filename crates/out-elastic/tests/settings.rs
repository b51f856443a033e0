//! Settings as operators write them.
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use out_elastic::{Elastic, ElasticSettings, Error, Metrics};

fn read(yaml: &str) -> Result<ElasticSettings, String> {
    serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
}

#[test]
fn an_endpoint_is_enough() {
    let settings = read("endpoint: http://es:9200").unwrap();
    assert_eq!(
        settings,
        ElasticSettings::new("http://es:9200".parse().unwrap())
    );
    assert_eq!(settings.index_prefix, "emco-logs");
    assert_eq!(settings.request_index_prefix, "emco-requests");
}

#[test]
fn everything_can_be_said() {
    let settings = read(
        "endpoint: https://es:9200/behind/a/proxy\nindex_prefix: logs-emco\n\
         request_index_prefix: requests\ncompression: gzip\nin_flight_max: 4\n\
         tls: {ca_file: /tls/ca.crt, server_name: es.test}\napi_key_file: /secrets/key\n",
    )
    .unwrap();
    assert_eq!(settings.endpoint.path(), "/behind/a/proxy");
    assert_eq!(settings.tls.server_name.as_deref(), Some("es.test"));
}

#[test]
fn mistakes_are_told() {
    for (yaml, word) in [
        ("endpoint: http://elastic:pw@es:9200", "come from files"),
        ("endpoint: http://es:9200\npassword: hunter2", "password"),
        ("index_prefix: x", "endpoint"),
    ] {
        let error = read(yaml).unwrap_err();
        assert!(error.contains(word), "{yaml}: {error}");
    }
}

#[test]
fn contradictions_are_told() {
    let endpoint = "endpoint: http://es:9200\n";
    for (yaml, word) in [
        ("endpoint: es:9200".to_owned(), "http://"),
        (format!("{endpoint}in_flight_max: 0"), "in_flight_max"),
        (format!("{endpoint}username: alice"), "go together"),
        (format!("{endpoint}index_prefix: Upper"), "lower-case"),
        (format!("{endpoint}index_prefix: ''"), "lower-case"),
        (format!("{endpoint}request_index_prefix: _x"), "lower-case"),
        (
            format!("{endpoint}username: a\npassword_file: /p\napi_key_file: /k"),
            "exclude",
        ),
        (
            format!("{endpoint}token_file: /t\napi_key_file: /k"),
            "exclude",
        ),
    ] {
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let error = Elastic::new(read(&yaml).unwrap(), metrics).unwrap_err();
        assert!(matches!(error, Error::Settings(_)));
        assert!(error.to_string().contains(word), "{yaml}: {error}");
    }
}
