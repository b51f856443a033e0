//! The client's handle, and what its tasks share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::fact::Fact;
use model::ids::TraceId;
use net::{Endpoint, TlsSettings};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::metrics::ClientMetrics;
use crate::outbox::Outbox;
use crate::places::{self, Place};
use crate::questions::{Cursor, Learned, Questions, Subject};
use crate::replica::Replica;
use crate::settings::ClientSettings;
use crate::task::{poll_fresh, poll_standing, tell_replica};
use crate::wire::{ASKED_MAX, Question, Reply, VERSION, WAIT_MS_MAX, WireFact};

/// What was learned and not fetched yet; beyond, asking pauses.
const LEARNED_MAX: usize = 1024;
/// Starts the client.
#[derive(Debug)]
pub struct HubClient;

/// Asks and tells without ever waiting. Cheap to clone.
#[derive(Clone)]
pub struct HubHandle {
    /// Those who ask and tell now; others after [`HubHandle::point_to`].
    current: Arc<Mutex<Arc<Shared>>>,
    learned: mpsc::Sender<Learned>,
    /// Ends what follows the names of the current settings.
    configured: Arc<Mutex<CancellationToken>>,
    stop: CancellationToken,
}

pub(crate) struct Shared {
    pub(crate) questions: Arc<Mutex<Questions>>,
    pub(crate) outbox: Arc<Mutex<Outbox>>,
    pub(crate) replicas: Vec<Replica>,
    /// Which replica is asked; moves on when it fails.
    preferred: AtomicUsize,
    pub(crate) asked: Notify,
    pub(crate) joined: Notify,
    exchanged: Arc<Notify>,
    pub(crate) settings: ClientSettings,
    pub(crate) metrics: ClientMetrics,
    pub(crate) stop: CancellationToken,
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
        let endpoints = endpoints(&settings.addresses)?;
        let questions = Questions::new(settings.questions_max.min(ASKED_MAX), settings.horizon);
        let outbox = Outbox::new(settings.facts_max);
        let configured = stop.child_token();
        let shared = Shared {
            replicas: Vec::new(),
            questions: Arc::new(Mutex::new(questions)),
            outbox: Arc::new(Mutex::new(outbox)),
            preferred: AtomicUsize::new(0),
            asked: Notify::new(),
            joined: Notify::new(),
            exchanged: Arc::default(),
            settings,
            metrics,
            stop: configured.child_token(),
        };
        let handle = HubHandle {
            current: Arc::new(Mutex::new(Arc::new(shared))),
            learned,
            configured: Arc::new(Mutex::new(configured.clone())),
            stop,
        };
        handle.begin(endpoints, configured);
        Ok((handle, receiver))
    }
}

fn endpoints(addresses: &[String]) -> Result<Vec<Endpoint>, Error> {
    let parse = |address: &String| {
        address.parse().map_err(|source| Error::Address {
            address: address.clone(),
            source,
        })
    };
    addresses.iter().map(parse).collect()
}

impl HubHandle {
    /// Talks to the replicas at `addresses` from now on. They are asked what is still open and told
    /// what is still kept.
    ///
    /// # Errors
    /// [`Error::Address`] if an address names no endpoint; nothing changes then.
    pub fn point_to(
        &self,
        addresses: Vec<String>,
        token_file: Option<PathBuf>,
        tls: TlsSettings,
    ) -> Result<(), Error> {
        let endpoints = endpoints(&addresses)?;
        let configured = self.stop.child_token();
        std::mem::replace(&mut *lock(&self.configured), configured.clone()).cancel();
        let before = self.shared();
        let settings = ClientSettings {
            addresses,
            tls,
            token_file,
            ..before.settings.clone()
        };
        *lock(&self.current) = Arc::new(before.next(settings, Vec::new(), &configured));
        self.begin(endpoints, configured);
        Ok(())
    }

    /// Starts with what is named, and follows the names.
    fn begin(&self, endpoints: Vec<Endpoint>, configured: CancellationToken) {
        let tls = self.shared().settings.tls.clone();
        self.move_to(places::named(&endpoints, &tls), &configured);
        if !endpoints.is_empty() {
            let follow = places::follow(self.clone(), endpoints, tls, configured, places::resolve);
            tokio::spawn(follow);
        }
    }

    /// Talks to the replicas at these places from now on, until `configured` is cancelled.
    pub(crate) fn move_to(&self, places: Vec<Place>, configured: &CancellationToken) {
        let mut current = lock(&self.current);
        if configured.is_cancelled() {
            return;
        }
        let next = current.next(current.settings.clone(), places, configured);
        current.stop.cancel();
        *current = next.start(&self.learned);
    }

    /// Waits until an exchange with a replica ends.
    pub(crate) async fn exchanged(&self) {
        let exchanged = Arc::clone(&self.shared().exchanged);
        exchanged.notified().await;
    }

    /// Whether a replica did not answer when it was spoken to last.
    pub(crate) fn is_any_away(&self) -> bool {
        self.shared().replicas.iter().any(Replica::is_away)
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&lock(&self.current))
    }

    /// Asks whose trace it is. The answer comes as [`Learned::Made`], once for each request of the
    /// person and once more when it is over; a conflict may follow as long as the question is open, and
    /// asking again keeps it open.
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
        let shared = self.shared();
        if shared.replicas.is_empty() || !lock(&shared.outbox).push(fact) {
            return;
        }
        shared.metrics.told.inc();
        for replica in &shared.replicas {
            replica.told.notify_one();
        }
    }

    #[cfg(test)]
    pub(crate) fn standing_for_tests(&self) -> usize {
        lock(&self.shared().questions).standing().len()
    }

    fn ask(&self, subject: Subject) {
        let shared = self.shared();
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
        let shared = self.shared();
        let addresses = &shared.settings.addresses;
        f.debug_struct("HubHandle")
            .field("addresses", addresses)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The same questions and facts for other replicas.
    fn next(
        &self,
        settings: ClientSettings,
        places: Vec<Place>,
        configured: &CancellationToken,
    ) -> Self {
        let replica = |place| {
            let exchanged = Arc::clone(&self.exchanged);
            Replica::new(place, &settings, &self.metrics, exchanged)
        };
        Self {
            replicas: places.into_iter().map(replica).collect(),
            questions: Arc::clone(&self.questions),
            outbox: Arc::clone(&self.outbox),
            preferred: AtomicUsize::new(0),
            asked: Notify::new(),
            joined: Notify::new(),
            exchanged: Arc::clone(&self.exchanged),
            metrics: self.metrics.clone(),
            stop: configured.child_token(),
            settings,
        }
    }

    /// Starts the tasks that ask and tell.
    fn start(self, learned: &mpsc::Sender<Learned>) -> Arc<Self> {
        let shared = Arc::new(self);
        for index in 0..shared.replicas.len() {
            tokio::spawn(tell_replica(Arc::clone(&shared), index));
        }
        if !shared.replicas.is_empty() {
            tokio::spawn(poll_fresh(Arc::clone(&shared), learned.clone()));
            tokio::spawn(poll_standing(Arc::clone(&shared), learned.clone()));
        }
        shared
    }

    /// Asks the preferred replica, and the others in turn where one fails.
    pub(crate) async fn ask_any(
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
            result = replica.exchange("/v1/ask", &question, limit).await;
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

    /// Hands on what is news; answers whether somebody still listens.
    pub(crate) async fn pass_on(
        &self,
        facts: Vec<WireFact>,
        learned: &mpsc::Sender<Learned>,
    ) -> bool {
        let news = {
            let mut questions = lock(&self.questions);
            let news = questions.learn(facts);
            self.gauge(&mut questions);
            news
        };
        let is_conflict = |item: &&Learned| matches!(item, Learned::Conflict(_));
        let conflicts = news.iter().filter(is_conflict).count();
        if conflicts > 0 {
            tracing::warn!(
                traces = conflicts,
                "two people used one trace: it names nobody any more"
            );
        }
        for item in news {
            let kind = match &item {
                Learned::Conflict(_) => "conflict",
                Learned::Made(_) => "person",
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

    pub(crate) fn gauge(&self, questions: &mut Questions) {
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
