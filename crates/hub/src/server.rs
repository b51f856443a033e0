//! The hub's HTTP handler: [`HubServer::handle`] can be mounted anywhere, [`HubServer::serve`] brings
//! its own listener.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body;
use model::fact::Fact;
use model::ids::TraceId;
use model::time::UnixNanos;
use net::server::Server;
use net::transport::Transport;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::access::{self, Record};
use crate::authority::{Authority, Role};
use crate::engine::{Answer, Ask, Asked, Engine, WaitId};
use crate::error::Error;
use crate::metrics::ServerMetrics;
use crate::settings::EngineSettings;
use crate::store::{Claim, Told};
use crate::wire::{
    ASKED_MAX, BODY_BYTES_MAX, Question, Receipt, Refusal, Reply, Tell, VERSION, WAIT_MS_MAX,
    WireFact, decode, encode,
};

/// Longest time a request's body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// One replica of the hub.
pub struct HubServer {
    state: Mutex<State>,
    authority: Box<dyn Authority>,
    metrics: ServerMetrics,
    user_at_begin: bool,
    /// Names this life of the replica: what was known before it is forgotten.
    life: u64,
    stop: CancellationToken,
}

/// What became of a piece of access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessSummary {
    /// Claims that were new.
    pub new: u64,
    /// Claims that were known.
    pub known: u64,
    /// Claims that contradicted what was known.
    pub conflicts: u64,
    /// Records that claim nothing.
    pub without_claim: u64,
    /// Lines that are no access record.
    pub unreadable: u64,
}

struct State {
    engine: Engine,
    waiters: HashMap<WaitId, oneshot::Sender<Answer>>,
}

/// A request that cannot be served.
struct Refused(StatusCode, String);

impl HubServer {
    /// A hub that knows nothing yet. Questions that wait are answered when `stop` is cancelled.
    pub fn new(
        settings: EngineSettings,
        authority: impl Authority + 'static,
        metrics: ServerMetrics,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let user_at_begin = settings.user_at_begin;
        Arc::new(Self {
            state: Mutex::new(State {
                engine: Engine::new(settings),
                waiters: HashMap::new(),
            }),
            user_at_begin,
            authority: Box::new(authority),
            metrics,
            life: now().0.max(1),
            stop,
        })
    }

    /// Serves `server` until the hub's `stop` is cancelled. A client holds up to three connections:
    /// give the server room for all of them.
    pub async fn serve<T: Transport>(self: Arc<Self>, server: Server<T>) {
        let stop = self.stop.clone();
        let hub = self;
        let handler = move |request| {
            let hub = Arc::clone(&hub);
            async move { hub.handle(request).await }
        };
        server.serve(handler, stop).await;
    }

    /// Answers one request, whatever it is.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = match request.uri().path() {
            "/v1/tell" => "tell",
            "/v1/ask" => "ask",
            "/v1/access-log" => "access_log",
            "/health" => return respond(StatusCode::OK, b"{\"status\":\"up\"}".to_vec()),
            _ => "other",
        };
        let (response, outcome) = match self.route(path, request).await {
            Ok(body) => (respond(StatusCode::OK, body), "served"),
            Err(Refused(status, error)) => {
                tracing::warn!(
                    path,
                    status = status.as_u16(),
                    error,
                    "a hub request was refused"
                );
                let version = VERSION;
                (
                    respond(status, encode(&Refusal { version, error })),
                    "refused",
                )
            }
        };
        self.metrics
            .requests
            .with_label_values(&[path, outcome])
            .inc();
        response
    }

    /// Takes lines of the ingress gateway's access log. The caller vouches for where they come from.
    pub fn tell_access_log(&self, ndjson: &[u8]) -> AccessSummary {
        let mut summary = AccessSummary::default();
        let mut state = self.lock();
        for line in ndjson.split(|byte| *byte == b'\n') {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let count = match access::read(line, self.user_at_begin) {
                Err(_) => &mut summary.unreadable,
                Ok(None) => &mut summary.without_claim,
                Ok(Some(Record { trace, statement })) => {
                    let somebody = statement.claim == Claim::Somebody;
                    match state.engine.claim(trace, statement, now()) {
                        Told::Known if somebody => &mut summary.without_claim,
                        Told::New => &mut summary.new,
                        Told::Known => &mut summary.known,
                        Told::Conflict => &mut summary.conflicts,
                    }
                }
            };
            *count += 1;
        }
        self.settle(&mut state);
        drop(state);
        if summary.unreadable > 0 {
            tracing::warn!(
                lines = summary.unreadable,
                "lines that are no JSON access records came as the gateway's access log"
            );
        }
        self.count(&receipt_of(summary));
        summary
    }

    /// Takes a fact that the caller vouches for: for whoever mounts the hub and is trusted itself.
    pub fn tell_trusted(&self, fact: Fact) -> Told {
        let mut state = self.lock();
        let told = state.engine.tell(fact, now());
        self.settle(&mut state);
        told
    }

    /// What is known about `ask` now.
    pub fn known(&self, ask: &Ask) -> Answer {
        self.lock().engine.answer(ask)
    }

    async fn route<B>(&self, path: &str, request: Request<B>) -> Result<Vec<u8>, Refused>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if path == "other" {
            let known = "there are /v1/tell, /v1/ask and /v1/access-log".to_owned();
            return Err(Refused(StatusCode::NOT_FOUND, known));
        }
        if request.method() != Method::POST {
            let post = "the hub's requests are posts".to_owned();
            return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, post));
        }
        let role = self.role(bearer(request.headers())).await?;
        if path == "access_log" && role != Role::Gateway {
            let only = "only the gateway's reporter may send access logs".to_owned();
            return Err(Refused(StatusCode::FORBIDDEN, only));
        }
        let body = read(request).await?;
        match path {
            "tell" => self.tell(&body, role),
            "ask" => self.ask(&body).await,
            _ => Ok(encode(&Receipt {
                hub: self.life,
                version: VERSION,
                ..receipt_of(self.tell_access_log(&body))
            })),
        }
    }

    async fn role(&self, token: Option<&[u8]>) -> Result<Role, Refused> {
        let known = self.authority.role(token).await;
        let known = known.map_err(|unavailable| {
            Refused(StatusCode::SERVICE_UNAVAILABLE, unavailable.to_string())
        })?;
        known.ok_or_else(|| {
            let token = "the request has no bearer token that is known here".to_owned();
            Refused(StatusCode::UNAUTHORIZED, token)
        })
    }

    fn tell(&self, body: &[u8], role: Role) -> Result<Vec<u8>, Refused> {
        let tell: Tell = decode(body).map_err(|error| bad_request(&error))?;
        let mut receipt = Receipt {
            version: VERSION,
            hub: self.life,
            ..Receipt::default()
        };
        let mut state = self.lock();
        for fact in tell.facts.into_iter().map(WireFact::fact) {
            let count = match fact {
                None => &mut receipt.ignored,
                Some(Fact::TraceUser(_)) if role != Role::Gateway => &mut receipt.refused,
                Some(fact) => match state.engine.tell(fact, now()) {
                    Told::New => &mut receipt.new,
                    Told::Known => &mut receipt.known,
                    Told::Conflict => &mut receipt.conflicts,
                },
            };
            *count += 1;
        }
        self.settle(&mut state);
        drop(state);
        self.count(&receipt);
        Ok(encode(&receipt))
    }

    async fn ask(&self, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let question: Question = decode(body).map_err(|error| bad_request(&error))?;
        if question.traces.len() + question.app_contexts.len() > ASKED_MAX {
            let many = format!("a question may name {ASKED_MAX} things");
            return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, many));
        }
        let wait = Duration::from_millis(question.wait_ms.min(WAIT_MS_MAX));
        let answer = match self.begin(self.read_question(question), wait) {
            Begun::Answered(answer) => answer,
            Begun::Waits(waiter) => waiter.answer(wait).await,
        };
        Ok(encode(&Reply {
            version: VERSION,
            hub: self.life,
            upto: answer.upto,
            facts: answer.facts,
        }))
    }

    fn read_question(&self, question: Question) -> Ask {
        Ask {
            traces: question
                .traces
                .iter()
                .filter_map(|trace| TraceId::parse(trace.as_bytes()))
                .collect(),
            app_contexts: question.app_contexts.into_iter().collect(),
            after: if question.hub == self.life {
                question.after
            } else {
                0
            },
        }
    }

    fn begin(&self, ask: Ask, wait: Duration) -> Begun<'_> {
        let mut state = self.lock();
        if wait.is_zero() || self.stop.is_cancelled() {
            return Begun::Answered(state.engine.answer(&ask));
        }
        let begun = match state.engine.ask(ask.clone(), now()) {
            Asked::Now(answer) => Begun::Answered(answer),
            Asked::Waits(id) => {
                let (sender, receiver) = oneshot::channel();
                state.waiters.insert(id, sender);
                Begun::Waits(Waiter {
                    hub: self,
                    ask,
                    id,
                    receiver: Some(receiver),
                })
            }
        };
        self.settle(&mut state);
        begun
    }

    /// Hands out answers that became ready, and brings the gauges up to date.
    fn settle(&self, state: &mut State) {
        while let Some((id, answer)) = state.engine.ready() {
            if let Some(waiter) = state.waiters.remove(&id)
                && waiter.send(answer).is_err()
            {
                tracing::debug!("an asker left before its answer");
            }
        }
        let metrics = &self.metrics;
        let (traces, conflicts, contexts) = state.engine.store().lengths();
        for (kind, count) in [
            ("trace", traces),
            ("conflict", conflicts),
            ("app_context", contexts),
        ] {
            let gauge = metrics.remembered.with_label_values(&[kind]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let waiting = i64::try_from(state.engine.waiting()).unwrap_or(i64::MAX);
        metrics.waiting.set(waiting);
        let turned_away = std::mem::take(&mut state.engine.turned_away);
        metrics.turned_away.inc_by(turned_away);
        let forgotten = state.engine.take_forgotten();
        for (kind, count) in [
            ("trace", forgotten.traces),
            ("conflict", forgotten.conflicts),
            ("app_context", forgotten.app_contexts),
            ("operation", forgotten.operations),
        ] {
            metrics.forgotten.with_label_values(&[kind]).inc_by(count);
        }
    }

    fn count(&self, receipt: &Receipt) {
        for (outcome, count) in [
            ("new", receipt.new),
            ("known", receipt.known),
            ("conflict", receipt.conflicts),
            ("refused", receipt.refused),
            ("ignored", receipt.ignored),
        ] {
            self.metrics
                .facts
                .with_label_values(&[outcome])
                .inc_by(count);
        }
    }

    #[cfg(test)]
    pub(crate) const fn metrics_for_tests(&self) -> &ServerMetrics {
        &self.metrics
    }

    /// Questions that wait, in the engine and here.
    #[cfg(test)]
    pub(crate) fn waiting_for_tests(&self) -> (usize, usize) {
        let state = self.lock();
        (state.engine.waiting(), state.waiters.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Begun<'a> {
    Answered(Answer),
    Waits(Waiter<'a>),
}

/// A question that waits; leaves no trace in the engine when the asker goes away.
struct Waiter<'a> {
    hub: &'a HubServer,
    ask: Ask,
    id: WaitId,
    receiver: Option<oneshot::Receiver<Answer>>,
}

impl Waiter<'_> {
    async fn answer(mut self, wait: Duration) -> Answer {
        let Some(receiver) = self.receiver.take() else {
            return Answer::default();
        };
        let answered = tokio::select! {
            answered = timeout(wait, receiver) => answered,
            () = self.hub.stop.cancelled() => return self.late(),
        };
        match answered {
            Ok(Ok(answer)) => answer,
            _ => self.late(),
        }
    }

    /// Nothing became known: says up to which change that is so.
    fn late(&self) -> Answer {
        self.hub.lock().engine.answer(&self.ask)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.engine.give_up(self.id);
        state.waiters.remove(&self.id);
    }
}

async fn read<B>(request: Request<B>) -> Result<Bytes, Refused>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = net::body::read_capped(request.into_body(), BODY_BYTES_MAX);
    let slow = |_| {
        let text = "the body did not arrive in time".to_owned();
        Refused(StatusCode::REQUEST_TIMEOUT, text)
    };
    timeout(BODY_TIME_MAX, body)
        .await
        .map_err(slow)?
        .map_err(|error| {
            let status = match error {
                net::Error::BodyTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_REQUEST,
            };
            Refused(status, net::chain(&error))
        })
}

/// The bearer token of a request's headers.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then_some(token.trim_ascii())
}

fn bad_request(error: &Error) -> Refused {
    Refused(StatusCode::BAD_REQUEST, error.to_string())
}

const fn receipt_of(summary: AccessSummary) -> Receipt {
    Receipt {
        version: VERSION,
        hub: 0,
        new: summary.new,
        known: summary.known,
        conflicts: summary.conflicts,
        refused: 0,
        ignored: summary.unreadable,
    }
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}

/// The wall clock: how old facts are, and the name of a life.
fn now() -> UnixNanos {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}
