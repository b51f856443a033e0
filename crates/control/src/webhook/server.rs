//! The HTTPS side of reviews.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request as HttpRequest, Response as HttpResponse, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use kube::Client;
use net::body::read_capped;
use tokio::time::timeout;

use super::events::{Events, Notice};
use super::review::Request;
use crate::cluster::Cluster;
use crate::inject::{Decision, Reason, Settings, SidecarKind};
use crate::metrics::Metrics;
use crate::settings::Rollback;

/// Where the API server calls.
const PATH: &str = "/mutate";
/// The API server takes objects of 3 MiB, and a review may hold two of them.
const BODY_BYTES_MAX: usize = 8 << 20;
/// The API server waits 5 s for all of it.
const BODY_TIME_MAX: Duration = Duration::from_secs(4);

/// Answers the API server.
pub struct Webhook {
    /// To the API server.
    pub client: Client,
    /// What is known of the cluster.
    pub cluster: Arc<Cluster>,
    /// How pods get their sidecar.
    pub settings: Settings,
    /// Tells operators.
    pub events: Events,
    /// Counts.
    pub metrics: Metrics,
}

/// A call that cannot be answered.
struct Refused(StatusCode, String);

impl Webhook {
    /// Answers one call, whatever it is.
    pub async fn handle<B>(&self, request: HttpRequest<B>) -> HttpResponse<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let begun = Instant::now();
        let answered = self.answer(request).await;
        let seconds = begun.elapsed().as_secs_f64();
        match answered {
            Ok(body) => {
                self.metrics.review_seconds.observe(seconds);
                respond(StatusCode::OK, "application/json", body)
            }
            Err(Refused(status, reason)) => {
                self.count("malformed");
                tracing::warn!(status = status.as_u16(), reason, "a call was refused");
                respond(status, "text/plain; charset=utf-8", reason.into_bytes())
            }
        }
    }

    async fn answer<B>(&self, request: HttpRequest<B>) -> Result<Vec<u8>, Refused>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if request.uri().path() != PATH {
            let reason = format!("there is only {PATH} here\n");
            return Err(Refused(StatusCode::NOT_FOUND, reason));
        }
        if request.method() != Method::POST {
            let reason = "an AdmissionReview is sent by POST\n".to_owned();
            return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, reason));
        }
        let body = timeout(
            BODY_TIME_MAX,
            read_capped(request.into_body(), BODY_BYTES_MAX),
        );
        let bad = |error: &dyn std::error::Error| {
            Refused(StatusCode::BAD_REQUEST, format!("{}\n", net::chain(error)))
        };
        let Ok(body) = body.await else {
            let reason = "the body took too long\n".to_owned();
            return Err(Refused(StatusCode::REQUEST_TIMEOUT, reason));
        };
        let body = body.map_err(|error| bad(&error))?;
        let review = Request::read(&body).map_err(|error| bad(&error))?;
        let surroundings = self
            .cluster
            .surroundings(&self.client, &review.namespace)
            .await;
        let decision = match self.cluster.rollback() {
            None => review.decide(&self.settings, &surroundings),
            Some(rollback) => {
                let settings = rolled_back(&self.settings, rollback);
                let decision = review.decide(&settings, &surroundings);
                decision.map(|decision| without_sidecar(decision, &settings, rollback))
            }
        };
        self.tell(&review, decision.as_ref());
        let answer = review.answer(decision.as_ref());
        let answer = answer.and_then(|answer| serde_json::to_vec(&answer));
        answer.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    }

    /// Counts what was decided, and tells operators what they would not expect.
    fn tell(&self, review: &Request, decision: Option<&Decision>) {
        let notices = match decision {
            None => return self.count("other"),
            Some(Decision::Current) => return self.count("current"),
            Some(Decision::Inject(injection)) => {
                let replaces = injection.replaces;
                self.count(if replaces { "replaced" } else { "injected" });
                for note in &injection.notes {
                    self.metrics.notes.with_label_values(&[note.label()]).inc();
                }
                let notes = injection.notes.iter();
                notes
                    .map(|note| ("SidecarDegraded", note.to_string()))
                    .collect()
            }
            Some(Decision::Skip(reason)) => {
                self.count(reason.label());
                if !reason.is_unexpected() {
                    return;
                }
                vec![("SidecarSkipped", reason.to_string())]
            }
        };
        // what is only tried must leave no trace
        if !review.dry_run {
            for (reason, note) in notices {
                self.events.tell(Notice::new(review, reason, note));
            }
        }
    }

    fn count(&self, outcome: &str) {
        self.metrics.reviews.with_label_values(&[outcome]).inc();
    }
}

/// What settings say while the sidecar does not run.
fn rolled_back(settings: &Settings, rollback: Rollback) -> Settings {
    let mut settings = settings.clone();
    if rollback == Rollback::Optional {
        settings.sidecar = SidecarKind::Optional;
    }
    settings
}

fn without_sidecar(decision: Decision, settings: &Settings, rollback: Rollback) -> Decision {
    match decision {
        Decision::Inject(_) if rollback == Rollback::Without => {
            Decision::Skip(Reason::DoesNotRun {
                image: settings.image.clone(),
            })
        }
        decision => decision,
    }
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> HttpResponse<Full<Bytes>> {
    let mut response = HttpResponse::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::{Kind, Namespace, Surroundings, review};
    use serde_json::json;

    #[test]
    fn pods_get_less_while_the_sidecar_does_not_run() {
        let settings = Settings {
            sidecar: SidecarKind::Native,
            ..Settings::default()
        };
        let version = Some(crate::inject::KubernetesVersion::NATIVE_SIDECAR);
        let surroundings = Surroundings {
            server: version,
            oldest_node: version,
            namespace: Namespace {
                inject: Some(true),
                ..Namespace::default()
            },
        };
        let pod = |app| {
            json!({
                "metadata": { "labels": { "app": app } },
                "spec": { "containers": [{ "name": "app", "image": "emco" }] },
            })
        };
        let decided = |app, rollback| {
            let settings = rolled_back(&settings, rollback);
            let decision = review(&pod(app), &settings, &surroundings);
            without_sidecar(decision, &settings, rollback)
        };
        let Decision::Inject(injection) = decided("rsync", Rollback::Optional) else {
            panic!("it gets one");
        };
        assert_eq!(injection.summary.kind, Kind::Plain);
        let Decision::Skip(reason) = decided("rsync", Rollback::Without) else {
            panic!("it gets none");
        };
        assert_eq!(reason.label(), "does_not_run");
        assert!(reason.is_unexpected() && reason.to_string().contains(&settings.image));
        let Decision::Skip(reason) = decided("mongo", Rollback::Without) else {
            panic!("it gets none");
        };
        assert_eq!(reason.label(), "not_emco");
    }
}
