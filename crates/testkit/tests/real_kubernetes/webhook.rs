//! A webhook that adds a native sidecar, and the name it was called by.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use testkit::peers::Identity;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

const REVIEW_BYTES_MAX: usize = 4 << 20;

/// A webhook that is served until the value goes away.
pub(crate) struct Webhook {
    reviews: Arc<Mutex<Vec<Value>>>,
    _runtime: Runtime,
}

impl Webhook {
    /// Serves one.
    pub(crate) fn listen(address: SocketAddr, identity: &Identity) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config(identity)));
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let reviews = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn(accept(listener, acceptor, Arc::clone(&reviews)));
        Self {
            reviews,
            _runtime: runtime,
        }
    }

    /// Each review was about a pod in one of these namespaces, and both asked and tried first.
    pub(crate) fn check(&self, one: &str, other: &str) {
        let reviews = self.reviews.lock().unwrap_or_else(PoisonError::into_inner);
        for namespace in [one, other] {
            for dry_run in [true, false] {
                let seen = reviews.iter().any(|review| {
                    let request = &review["request"];
                    request["namespace"] == namespace && request["dryRun"] == dry_run
                });
                assert!(seen, "{namespace}, dry run {dry_run}: {reviews:?}");
            }
        }
        for review in reviews.iter() {
            let namespace = &review["request"]["namespace"];
            assert!(namespace == one || namespace == other, "{review}");
            assert_eq!(review["request"]["object"]["kind"], "Pod");
        }
    }
}

/// `text` as configurations have it.
pub(crate) fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}

fn config(identity: &Identity) -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, reviews: Arc<Mutex<Vec<Value>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, reviews) = (acceptor.clone(), Arc::clone(&reviews));
        tokio::spawn(async move {
            // Who calls with a certificate it does not like goes away.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| answer(request, &reviews));
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            drop(served.await);
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "the body is limited")]
async fn answer(
    request: Request<Incoming>,
    reviews: &Mutex<Vec<Value>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/mutate");
    let host = request.headers()["host"].to_str().unwrap().to_owned();
    let body = Limited::new(request.into_body(), REVIEW_BYTES_MAX);
    let body = body.collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let sidecar = json!({
        "name": "sidecar", "image": "example.test/sidecar:1", "restartPolicy": "Always",
    });
    let patch = json!([
        {"op": "add", "path": "/metadata/annotations", "value": {"called": host}},
        {"op": "add", "path": "/spec/initContainers", "value": [sidecar]},
    ]);
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"], "allowed": true,
            "patchType": "JSONPatch", "patch": base64(&patch.to_string()),
        },
    });
    let mut seen = reviews.lock().unwrap_or_else(PoisonError::into_inner);
    seen.push(review);
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}
