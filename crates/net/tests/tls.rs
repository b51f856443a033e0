//! TLS clients against a server of our own, with certificates that are replaced while we run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::Full;
use net::{
    ClientSettings, Endpoint, HttpClient, Identity, Server, ServerSettings, TlsClient, TlsSettings,
    connect,
};
use rcgen::{CertifiedKey, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(10);

fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["server.test".to_owned()]).unwrap()
}

/// Serves one HTTP answer on each connection, under the certificate given.
async fn server(certificate: &CertifiedKey<KeyPair>) -> Endpoint {
    let key = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
                stream.write_all(answer).await.ok();
                stream.shutdown().await.ok();
            }
        }
    });
    endpoint.parse().unwrap()
}

fn settings(ca_file: &Path) -> TlsSettings {
    TlsSettings {
        ca_file: Some(ca_file.to_owned()),
        server_name: Some("server.test".to_owned()),
        ..TlsSettings::default()
    }
}

fn trust(ca_file: &Path, certificate: &CertifiedKey<KeyPair>) {
    std::fs::write(ca_file, certificate.cert.pem()).unwrap();
}

#[tokio::test]
async fn a_replaced_authority_is_trusted_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.crt");
    let (old, new) = (certificate(), certificate());
    let (at_old, at_new) = (server(&old).await, server(&new).await);
    trust(&ca_file, &old);
    let tls = TlsClient::new(settings(&ca_file));
    connect::stream(&at_old, Some(&tls), LIMIT).await.unwrap();
    let first = tls.config().unwrap();
    assert!(
        Arc::ptr_eq(&first, &tls.config().unwrap()),
        "nothing is read twice"
    );
    let refused = connect::stream(&at_new, Some(&tls), LIMIT)
        .await
        .unwrap_err();
    assert_eq!(refused.label(), "tls");

    // Both may have one length and time stamp; a replaced file in a pod never has.
    std::fs::write(&ca_file, new.cert.pem() + "\n").unwrap();
    connect::stream(&at_new, Some(&tls), LIMIT).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &tls.config().unwrap()));

    std::fs::write(&ca_file, "no certificate").unwrap();
    connect::stream(&at_new, Some(&tls), LIMIT)
        .await
        .expect("what was read before stays");
}

#[tokio::test]
async fn the_http_client_follows_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.crt");
    let (right, wrong) = (certificate(), certificate());
    trust(&ca_file, &wrong);
    let client = HttpClient::new(
        server(&right).await,
        ClientSettings {
            tls: settings(&ca_file),
            ..ClientSettings::default()
        },
    );
    let ask = || client.send(Method::GET, "/", HeaderMap::new(), Bytes::new());
    let refused = ask().await.unwrap_err();
    assert_eq!(refused.label(), "tls");
    assert!(
        net::chain(&refused).contains("certificate"),
        "{}",
        net::chain(&refused)
    );
    std::fs::write(&ca_file, right.cert.pem() + "\n").unwrap();
    assert_eq!(ask().await.unwrap().body, "ok");
}

#[tokio::test]
async fn who_ends_or_does_not_know_tls_is_told_apart_from_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.crt");
    trust(&ca_file, &certificate());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let client = HttpClient::new(
        endpoint.parse().unwrap(),
        ClientSettings {
            tls: settings(&ca_file),
            ..ClientSettings::default()
        },
    );
    let ask = || client.send(Method::GET, "/", HeaderMap::new(), Bytes::new());
    for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 4096];
            assert_ne!(stream.read(&mut hello).await.unwrap(), 0);
            stream.write_all(answer).await.unwrap();
        };
        let (asked, ()) = tokio::join!(ask(), answering);
        let error = asked.unwrap_err();
        assert_eq!(error.label(), "tls", "{}", net::chain(&error));
    }
    drop(listener);
    assert_eq!(ask().await.unwrap_err().label(), "connect");
}

#[tokio::test]
async fn another_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.crt");
    let certificate = certificate();
    trust(&ca_file, &certificate);
    let endpoint = server(&certificate).await;
    let tls = TlsClient::new(TlsSettings {
        server_name: None,
        ..settings(&ca_file)
    });
    let refused = connect::stream(&endpoint, Some(&tls), LIMIT)
        .await
        .unwrap_err();
    assert_eq!(refused.label(), "tls");
    assert!(
        net::chain(&refused).contains("127.0.0.1"),
        "{}",
        net::chain(&refused)
    );
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.crt");
    trust(&ca_file, &certificate());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = silent.local_addr().unwrap().to_string().parse().unwrap();
    let tls = TlsClient::new(settings(&ca_file));
    let limit = Duration::from_millis(200);
    let error = connect::stream(&endpoint, Some(&tls), limit)
        .await
        .unwrap_err();
    assert_eq!(error.label(), "timeout");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.crt");
    let empty = folder.path().join("empty.crt");
    std::fs::write(&empty, "").unwrap();
    for (settings, word) in [
        (settings(&missing), "missing.crt"),
        (settings(&empty), "holds no certificate"),
    ] {
        let error = TlsClient::new(settings).config().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let ca_file = folder.path().join("ca.crt");
    trust(&ca_file, &certificate());
    let half = TlsSettings {
        cert_file: Some(ca_file.clone()),
        ..settings(&ca_file)
    };
    let error = TlsClient::new(half).config().unwrap_err().to_string();
    let expected = format!(
        "cert_file and key_file go together: set key_file beside {}",
        ca_file.display()
    );
    assert_eq!(error, expected);
}

/// A server of ours that answers `ok` as `identity`.
async fn our_server(identity: &Identity, stop: &CancellationToken) -> Endpoint {
    let local = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(local, ServerSettings::default())
        .await
        .unwrap();
    let server = server.with_tls(identity).unwrap();
    let endpoint = format!("https://{}", server.local_addr().unwrap());
    let answer = async |_| http::Response::new(Full::new(Bytes::from("ok")));
    tokio::spawn(server.serve(answer, stop.clone()));
    endpoint.parse().unwrap()
}

#[tokio::test]
async fn a_server_shows_what_was_set_last() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.crt");
    let (old, new) = (certificate(), certificate());
    trust(&ca_file, &old);
    let (identity, stop) = (Identity::default(), CancellationToken::new());
    let endpoint = our_server(&identity, &stop).await;
    let ask = |tls: TlsSettings| {
        let settings = ClientSettings {
            tls,
            ..ClientSettings::default()
        };
        let client = HttpClient::new(endpoint.clone(), settings);
        async move {
            client
                .send(Method::GET, "/", HeaderMap::new(), Bytes::new())
                .await
        }
    };
    assert!(!identity.is_set());
    let refused = ask(settings(&ca_file)).await.unwrap_err();
    assert_eq!(refused.label(), "tls", "there is nobody yet");

    let set = |shown: &CertifiedKey<KeyPair>| {
        let key = shown.signing_key.serialize_pem();
        identity.set(shown.cert.pem().as_bytes(), key.as_bytes())
    };
    set(&old).unwrap();
    assert_eq!(ask(settings(&ca_file)).await.unwrap().body, "ok");
    let mixed = identity.set(
        new.cert.pem().as_bytes(),
        old.signing_key.serialize_pem().as_bytes(),
    );
    assert_eq!(mixed.unwrap_err().label(), "tls_files");
    assert_eq!(
        ask(settings(&ca_file)).await.unwrap().body,
        "ok",
        "what was there stays"
    );

    set(&new).unwrap();
    assert_eq!(ask(settings(&ca_file)).await.unwrap_err().label(), "tls");
    std::fs::write(&ca_file, new.cert.pem() + "\n").unwrap();
    assert_eq!(ask(settings(&ca_file)).await.unwrap().body, "ok");
    stop.cancel();
}
