//! The client's handle and tasks: one teller a replica, one task for short polls, one for the long
//! poll. All of them sleep until there is something to tell or to ask.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use model::fact::{Fact, Person};
use model::ids::TraceId;
use net::{Backoff, ClientSettings as HttpSettings, Endpoint, HttpClient};
use serde::Serialize;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::authority::read_token;
use crate::error::Error;
use crate::metrics::ClientMetrics;
use crate::outbox::Outbox;
use crate::questions::{Cursor, Learned, Questions, Subject};
use crate::settings::ClientSettings;
use crate::wire::{
    BODY_BYTES_MAX, FromHub, Question, Receipt, Reply, Tell, VERSION, WAIT_MS_MAX, WireFact,
    decode, encode,
};

/// What was learned and not fetched yet; beyond, asking pauses.
const LEARNED_MAX: usize = 1024;
/// Facts in one request.
const TELL_MAX: usize = 512;
/// How long the first fact of a batch waits for others.
const LINGER: Duration = Duration::from_millis(10);
/// How long a short poll waits for an answer, and so the most that a new question waits for it.
const SHORT_WAIT: Duration = Duration::from_millis(100);
/// The least time between two long polls, so that new members do not restart it all the time.
const LONG_PACE: Duration = Duration::from_secs(2);
/// How long the last facts may take to be told after `stop`.
const FLUSH: Duration = Duration::from_secs(1);

/// Starts the client.
#[derive(Debug)]
pub struct HubClient;

/// Asks and tells without ever waiting. Cheap to clone.
#[derive(Clone)]
pub struct HubHandle {
    shared: Arc<Shared>,
}

struct Shared {
    questions: Mutex<Questions>,
    outbox: Mutex<Outbox>,
    replicas: Vec<Replica>,
    /// Which replica is asked; moves on when it fails.
    preferred: AtomicUsize,
    asked: Notify,
    joined: Notify,
    settings: ClientSettings,
    metrics: ClientMetrics,
    stop: CancellationToken,
}

struct Replica {
    http: HttpClient,
    told: Notify,
    /// The life it named last; 0 before its first answer.
    life: AtomicU64,
    away: AtomicBool,
}

impl HubClient {
    /// Starts the client's tasks on the current runtime. They end when `stop` is cancelled. Without
    /// addresses there is no hub: nothing is asked, told or kept.
    ///
    /// # Errors
    /// [`Error::Address`] if an address names no endpoint.
    pub fn spawn(
        settings: ClientSettings,
        metrics: ClientMetrics,
        stop: CancellationToken,
    ) -> Result<(HubHandle, mpsc::Receiver<Learned>), Error> {
        let (learned, receiver) = mpsc::channel(LEARNED_MAX);
        let shared = Arc::new(Shared {
            questions: Mutex::new(Questions::new(settings.questions_max, settings.horizon)),
            outbox: Mutex::new(Outbox::new(settings.facts_max)),
            replicas: replicas(&settings.addresses)?,
            preferred: AtomicUsize::new(0),
            asked: Notify::new(),
            joined: Notify::new(),
            settings,
            metrics,
            stop,
        });
        for index in 0..shared.replicas.len() {
            tokio::spawn(tell_replica(Arc::clone(&shared), index));
        }
        if !shared.replicas.is_empty() {
            tokio::spawn(poll_fresh(Arc::clone(&shared), learned.clone()));
            tokio::spawn(poll_standing(Arc::clone(&shared), learned));
        }
        Ok((HubHandle { shared }, receiver))
    }
}

impl HubHandle {
    /// Asks whose trace it is. The answer comes as [`Learned::Person`]; a conflict may follow it as
    /// long as the question is open, and asking again keeps it open.
    pub fn ask_trace(&self, trace: TraceId) {
        self.ask(Subject::Trace(trace));
    }

    /// Asks which requests act on an `AppContext`. Each comes once as [`Learned::Operation`], also
    /// those that begin later, as long as the question is open.
    pub fn ask_app_context(&self, app_context: &str) {
        self.ask(Subject::AppContext(Arc::from(app_context)));
    }

    /// Tells every replica. A sidecar may tell operations only; the hub refuses other facts.
    pub fn tell(&self, fact: Fact) {
        let shared = &self.shared;
        if shared.replicas.is_empty() || !lock(&shared.outbox).push(fact) {
            return;
        }
        shared.metrics.told.inc();
        for replica in &shared.replicas {
            replica.told.notify_one();
        }
    }

    fn ask(&self, subject: Subject) {
        let shared = &self.shared;
        if shared.replicas.is_empty() {
            return;
        }
        let mut questions = lock(&shared.questions);
        if questions.ask(subject, Instant::now()) {
            shared.metrics.questions.inc();
            shared.gauge(&mut questions);
            drop(questions);
            shared.asked.notify_one();
        }
    }
}

impl std::fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses = &self.shared.settings.addresses;
        f.debug_struct("HubHandle")
            .field("addresses", addresses)
            .finish_non_exhaustive()
    }
}

fn replicas(addresses: &[String]) -> Result<Vec<Replica>, Error> {
    let replica = |address: &String| {
        let endpoint: Endpoint = address.parse().map_err(|source| Error::Address {
            address: address.clone(),
            source,
        })?;
        let settings = HttpSettings {
            connect_timeout: Duration::from_secs(2),
            // Each exchange has its own limit, below this one.
            request_timeout: Duration::from_mins(5),
            reply_bytes_max: BODY_BYTES_MAX,
            ..HttpSettings::default()
        };
        Ok(Replica {
            http: HttpClient::new(endpoint, settings),
            told: Notify::new(),
            life: AtomicU64::new(0),
            away: AtomicBool::new(false),
        })
    };
    addresses.iter().map(replica).collect()
}

/// Tells one replica everything, in order; everything that is still kept once more when it has
/// begun a new life.
async fn tell_replica(shared: Arc<Shared>, index: usize) {
    let Some(replica) = shared.replicas.get(index) else {
        return;
    };
    let mut backoff = backoff();
    let mut teller = Teller {
        shared: &shared,
        replica,
        place: 0,
        life: 0,
    };
    loop {
        if !teller.is_behind() {
            tokio::select! {
                () = replica.told.notified() => sleep(LINGER).await,
                () = shared.stop.cancelled() => break,
            }
            continue;
        }
        let told = tokio::select! {
            told = teller.tell() => told,
            () = shared.stop.cancelled() => break,
        };
        if told.is_ok() {
            backoff.reset();
            continue;
        }
        tokio::select! {
            () = sleep(backoff.next(fastrand::f64())) => {}
            () = shared.stop.cancelled() => break,
        }
    }
    let flush = async { while teller.is_behind() && teller.tell().await.is_ok() {} };
    if timeout(FLUSH, flush).await.is_err() {
        tracing::debug!(peer = %replica.http.endpoint(), "the last facts were not told in time");
    }
}

/// Where one replica stands in the outbox.
struct Teller<'a> {
    shared: &'a Shared,
    replica: &'a Replica,
    place: u64,
    /// The life that was told what stands before `place`.
    life: u64,
}

impl Teller<'_> {
    /// Whether there is something to tell; starts over for a new life.
    fn is_behind(&mut self) -> bool {
        let outbox = lock(&self.shared.outbox);
        let life = self.replica.life.load(Ordering::Relaxed);
        if life != self.life {
            if self.life != 0 {
                self.place = outbox.first();
            }
            self.life = life;
        }
        outbox.batch(self.place, 1).is_some()
    }

    async fn tell(&mut self) -> Result<(), Error> {
        let Some(batch) = lock(&self.shared.outbox).batch(self.place, TELL_MAX) else {
            return Ok(());
        };
        let lost = &self.shared.metrics.lost;
        lost.with_label_values(&["no_room"]).inc_by(batch.lost);
        // Counted once, whatever becomes of this attempt.
        self.place += batch.lost;
        let tell = Tell {
            version: VERSION,
            facts: batch.facts.iter().map(WireFact::from).collect(),
        };
        let limit = self.shared.settings.answer_max;
        let exchange = self.shared.exchange(self.replica, "/v1/tell", &tell, limit);
        let refused = match exchange.await {
            Ok(Receipt { refused, .. }) => refused,
            Err(error) if is_final(&error) => batch.facts.len() as u64,
            Err(error) => return Err(error),
        };
        lost.with_label_values(&["refused"]).inc_by(refused);
        self.place = batch.next;
        Ok(())
    }
}

/// Asks what is new, in short polls.
async fn poll_fresh(shared: Arc<Shared>, learned: mpsc::Sender<Learned>) {
    let mut backoff = backoff();
    while !shared.stop.is_cancelled() {
        let subjects = {
            let mut questions = lock(&shared.questions);
            questions.expire(Instant::now());
            shared.gauge(&mut questions);
            questions.fresh()
        };
        if subjects.is_empty() {
            tokio::select! {
                () = shared.asked.notified() => {}
                () = shared.stop.cancelled() => {}
            }
            continue;
        }
        let begun = Instant::now();
        let asked = tokio::select! {
            asked = shared.ask_any(&subjects, Cursor::default(), SHORT_WAIT) => asked,
            () = shared.stop.cancelled() => return,
        };
        let (facts, cursor, pause) = match asked {
            Ok(reply) => {
                backoff.reset();
                // A hub with no room for waiting questions answers at once.
                let pause = match reply.facts.is_empty() {
                    true => SHORT_WAIT.saturating_sub(begun.elapsed()),
                    false => Duration::ZERO,
                };
                (reply.facts, Cursor::new(reply.hub, reply.upto), pause)
            }
            Err(_) => (
                Vec::new(),
                Cursor::default(),
                backoff.next(fastrand::f64()).max(SHORT_WAIT),
            ),
        };
        if !shared.pass_on(facts, &learned).await {
            return;
        }
        if lock(&shared.questions).settle(&subjects, cursor, Instant::now()) > 0 {
            shared.joined.notify_one();
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// Keeps one long poll open for everything else.
async fn poll_standing(shared: Arc<Shared>, learned: mpsc::Sender<Learned>) {
    let mut backoff = backoff();
    let mut cursor = Cursor::default();
    while !shared.stop.is_cancelled() {
        let subjects = {
            let mut questions = lock(&shared.questions);
            questions.expire(Instant::now());
            shared.gauge(&mut questions);
            cursor = cursor.meet(questions.take_floor());
            questions.standing()
        };
        if subjects.is_empty() {
            tokio::select! {
                () = shared.joined.notified() => {}
                () = shared.stop.cancelled() => {}
            }
            continue;
        }
        let begun = Instant::now();
        let more_joined = async {
            sleep(LONG_PACE).await;
            shared.joined.notified().await;
        };
        let wait = Duration::from_millis(WAIT_MS_MAX);
        let asked = tokio::select! {
            asked = shared.ask_any(&subjects, cursor, wait) => asked,
            () = more_joined => continue,
            () = shared.stop.cancelled() => return,
        };
        let pause = match asked {
            Ok(reply) => {
                backoff.reset();
                let pause = match reply.facts.is_empty() {
                    true => LONG_PACE.saturating_sub(begun.elapsed()),
                    false => Duration::ZERO,
                };
                cursor = Cursor::new(reply.hub, reply.upto);
                if !shared.pass_on(reply.facts, &learned).await {
                    return;
                }
                pause
            }
            Err(_) => backoff.next(fastrand::f64()).max(SHORT_WAIT),
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

impl Shared {
    /// Asks the preferred replica, and the others in turn where one fails.
    async fn ask_any(
        &self,
        subjects: &[Subject],
        cursor: Cursor,
        wait: Duration,
    ) -> Result<Reply, Error> {
        let question = question(subjects, cursor, wait);
        let limit = wait + self.settings.answer_max;
        let mut result = Err(Error::Hangs);
        for _ in &self.replicas {
            let index = self.preferred.load(Ordering::Relaxed) % self.replicas.len();
            let Some(replica) = self.replicas.get(index) else {
                break;
            };
            result = self.exchange(replica, "/v1/ask", &question, limit).await;
            if result.is_ok() {
                break;
            }
            // The other task may have moved on already.
            let next = index + 1;
            let _moved = self.preferred.compare_exchange(
                index,
                next % self.replicas.len(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        result
    }

    async fn exchange<M: FromHub>(
        &self,
        replica: &Replica,
        path: &str,
        message: &impl Serialize,
        limit: Duration,
    ) -> Result<M, Error> {
        let exchange = self.request(replica, path, Bytes::from(encode(message)));
        let result: Result<M, Error> = timeout(limit, exchange).await.unwrap_or(Err(Error::Hangs));
        let peer = replica.http.endpoint();
        match &result {
            Ok(message) => {
                if replica.away.swap(false, Ordering::Relaxed) {
                    tracing::info!(%peer, "the hub is back");
                }
                let before = replica.life.swap(message.life(), Ordering::Relaxed);
                if before != 0 && before != message.life() {
                    tracing::info!(%peer, "the hub has started anew, telling it again");
                    replica.told.notify_one();
                }
            }
            Err(error) => {
                self.metrics
                    .failures
                    .with_label_values(&[error.label()])
                    .inc();
                if !replica.away.swap(true, Ordering::Relaxed) {
                    let error = net::chain(error);
                    tracing::warn!(
                        %peer,
                        error,
                        "the hub cannot be used: lines that need it stay without a person until it is back"
                    );
                }
            }
        }
        result
    }

    async fn request<M: FromHub>(
        &self,
        replica: &Replica,
        path: &str,
        body: Bytes,
    ) -> Result<M, Error> {
        let reply = replica
            .http
            .send(Method::POST, path, self.headers()?, body)
            .await
            .map_err(Error::Exchange)?;
        if !reply.status.is_success() {
            let said = reply.body.get(..200).unwrap_or(&reply.body);
            return Err(Error::Status {
                status: reply.status.as_u16(),
                text: String::from_utf8_lossy(said).into_owned(),
            });
        }
        decode(&reply.body)
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let Some(path) = &self.settings.token_file else {
            return Ok(headers);
        };
        let bad_token = |source| Error::Token {
            path: path.clone(),
            source,
        };
        let mut value = b"Bearer ".to_vec();
        value.extend(read_token(path).map_err(bad_token)?);
        let mut value = HeaderValue::from_bytes(&value)
            .map_err(|error| bad_token(std::io::Error::other(error)))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        Ok(headers)
    }

    /// Hands on what is news; answers whether somebody still listens.
    async fn pass_on(&self, facts: Vec<WireFact>, learned: &mpsc::Sender<Learned>) -> bool {
        let news = {
            let mut questions = lock(&self.questions);
            let news = questions.learn(facts);
            self.gauge(&mut questions);
            news
        };
        for item in news {
            let kind = match &item {
                Learned::Person(_, Person::Conflict) => "conflict",
                Learned::Person(..) => "person",
                Learned::Operation(_) => "operation",
            };
            self.metrics.learned.with_label_values(&[kind]).inc();
            let sent = tokio::select! {
                sent = learned.send(item) => sent.is_ok(),
                () = self.stop.cancelled() => false,
            };
            if !sent {
                return false;
            }
        }
        true
    }

    fn gauge(&self, questions: &mut Questions) {
        let metrics = &self.metrics;
        let open = i64::try_from(questions.len()).unwrap_or(i64::MAX);
        metrics.open_questions.set(open);
        let counts = questions.take_counts();
        let forgotten = &metrics.forgotten_questions;
        forgotten
            .with_label_values(&["horizon"])
            .inc_by(counts.expired);
        forgotten
            .with_label_values(&["no_room"])
            .inc_by(counts.no_room);
        if counts.contradictions > 0 {
            metrics
                .learned
                .with_label_values(&["contradiction"])
                .inc_by(counts.contradictions);
            tracing::warn!(
                traces = counts.contradictions,
                "the hub named two users for one trace: it names nobody any more"
            );
        }
    }
}

fn question(subjects: &[Subject], cursor: Cursor, wait: Duration) -> Question {
    let mut question = Question {
        version: VERSION,
        hub: cursor.hub,
        after: cursor.upto,
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(WAIT_MS_MAX),
        ..Question::default()
    };
    for subject in subjects {
        match subject {
            Subject::Trace(trace) => question.traces.push(trace.to_string()),
            Subject::AppContext(id) => question.app_contexts.push(Arc::clone(id)),
        }
    }
    question
}

/// Whether saying the same again would be answered the same.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::Status {
            status: 400 | 413,
            ..
        }
    )
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(30))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
