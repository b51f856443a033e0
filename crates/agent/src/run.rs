//! Puts the parts together and keeps them running.

mod reload;
mod setup;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use head::{Counting, Flaws, Head, Origins, Parts, SharedLedger, WAITING_MAX};
use hub::{HubHandle, Learned};
use in_tail::{Event, FileSet, Tailer};
use model::fact::Fact;
use model::time::UnixNanos;
use pipeline::{LaneHandle, LogHandle, OrderQueue, Recent};
use telemetry::cpu::{Meter, Work};
use telemetry::logs::Logs;
use telemetry::process::Process;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::Page;
use crate::claim::Claim;
use crate::configuration::Changes;
use crate::environment;
use crate::evidence::{EXPORT_DELAY, LedgerSink, note_downtime, note_late_start, rebuild};
use crate::lanes;
use crate::pace::{DECIDE_EVERY, sleep_until, wake_at};
use crate::reception::Reception;
use crate::rest::Rest;
use crate::resume::resume;
use crate::settings::Settings;
use crate::span_lane::{self, SpanLaneHandle};
use crate::span_lookup::{LedgerLookup, SpanMemory};
use crate::span_store::SpanStore;
use reload::Current;
use setup::{Places, connect_hub, nanos, new_ledger, open_log, open_spool, tail_settings};

/// Beyond so many lines that wait, verdicts are taken as soon as they are due.
const CROWD_LINES: usize = 256;
/// How often spans that are too old are thrown away, while there is something to do.
const TRIM_EVERY: Duration = Duration::from_secs(30);

/// A running sidecar.
pub(crate) struct Sidecar {
    head: Head,
    tailer: Tailer,
    ledger: SharedLedger,
    hub: HubHandle,
    learned: mpsc::Receiver<Learned>,
    lanes: Vec<LaneHandle>,
    traces: Option<SpanLaneHandle>,
    log: LogHandle,
    files: Arc<FileSet>,
    spans: SpanStore,
    current: Current,
    trimmed: Instant,
    process: Process,
    meter: Meter,
    rest: Rest,
    /// Since when spans are taken, until it is known whether the service began before.
    newborn: Option<UnixNanos>,
    places: Places,
    lane_names: Vec<&'static str>,
    /// Ends the parts that serve as long as lanes deliver.
    background: CancellationToken,
    /// Held as long as the state directory is ours.
    _claim: Claim,
}

impl Sidecar {
    /// Sets everything up and begins to deliver.
    pub(crate) async fn start(
        settings: &Settings,
        claim: Claim,
        page: &Page,
        logs: &Logs,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let (registry, health, background) = (&page.registry, &page.health, &page.background);
        let process = Process::new(registry)?;
        let meter = Meter::new(registry)?;

        let state_dir = settings.state_dir.as_path();
        let queues = spool::Metrics::new(registry)?;
        let spool = open_spool(settings, &queues)?;
        let spans = span_lane::open_store(&settings.lanes, spool, state_dir, registry)?;
        let memory = settings.lanes.otlp.is_some().then(SpanMemory::default);
        let (ledger, rest) = (new_ledger(settings), Rest::default());
        let mut sink = LedgerSink::new(ledger.clone(), EXPORT_DELAY)
            .telling(memory.clone())
            .disturbing(rest.clone());
        if let Some(lost_before) = rebuild(spans.spool(), &mut sink, &meter) {
            ledger.lock().history_lost(lost_before);
        }
        let reception = Reception::open(settings, registry, health).await?;
        let listening = environment::now();
        if let Some(alive_until) = claim.alive_until {
            note_downtime(&mut sink, &spans, alive_until, listening);
        }
        let received = reception.receive(sink, (&ledger, &spans), &meter, background);
        let metrics = pipeline::Metrics::new(registry)?;
        let lane_names = lanes::names(&settings.lanes);
        let (mut log, recovery) = open_log(settings, &lane_names, &queues, registry)?;
        let handle = log.handle();
        let counting = Counting::new(
            (registry, &page.side),
            &settings.service,
            &ledger,
            &mut log,
            received,
            environment::now(),
        )?;
        let tailer = Tailer::open(
            tail_settings(settings),
            resume(&recovery),
            in_tail::Metrics::new(registry)?,
        )
        .context("cannot follow the logs")?;
        let origins = Origins::new(&settings.service);
        let zone_offset_seconds = environment::zone_offset_seconds();
        let recent = Recent::new(lane_names.len());
        let (lanes, renewals) = lanes::spawn(
            &settings.lanes,
            &lanes::Shared {
                log: handle.clone(),
                files: tailer.files(),
                origins: origins.clone(),
                recent: recent.clone(),
                zone_offset_seconds,
                state_dir,
                metrics: &metrics,
                meter: &meter,
                queues: &queues,
                registry,
            },
        )?;
        let lookup = LedgerLookup::new(ledger.clone(), memory.clone().unwrap_or_default());
        let traces = span_lane::spawn(settings, &spans, lookup, &meter)?;
        let (hub, learned) = connect_hub(settings, registry, stop)?;
        spawn_keepers(&handle, &rest, &ledger, background);
        let mut head = Head::new(Parts {
            ledger: ledger.clone(),
            order: OrderQueue::new(WAITING_MAX, metrics.head(recovery.sequence)),
            counting: counting.telling(memory.map(SpanMemory::listener)),
            flaws: Flaws::new(registry)?,
            log,
            origins,
            recent,
            service: settings.service.clone(),
            proxy_container: settings.logs.proxy_container.clone(),
            zone_offset_seconds,
            health: health.clone(),
        });
        let places = Places::looked_at(settings, &mut head);
        tracing::info!(service = %settings.service, lanes = ?lane_names, spans = %settings.spans.listen, "sidecar is up");
        Ok(Self {
            current: Current::new(settings, (logs, health), renewals, (&hub, &ledger)),
            files: tailer.files(),
            head,
            tailer,
            ledger,
            hub,
            learned,
            lanes,
            traces,
            log: handle,
            spans,
            trimmed: Instant::now(),
            process,
            meter,
            rest,
            newborn: claim.alive_until.is_none().then_some(listening),
            lane_names,
            places,
            background: background.clone(),
            _claim: claim,
        })
    }

    /// The head's loop: until `stop`.
    ///
    /// # Errors
    /// If a destination's task ended by itself: only a new process gets it going again.
    pub(crate) async fn follow(
        &mut self,
        changes: &mut Changes,
        stop: &CancellationToken,
    ) -> Result<()> {
        let mut decided = Instant::now();
        loop {
            let mut room_again = false;
            let wake = self.head.deadline().map(|due| wake_at(due, decided));
            let readable = self.head.has_room() && self.log.has_room();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(learned) = self.learned.recv() => self.learn(learned),
                change = changes.next() => self.current.change(change, self.traces.as_ref()),
                event = self.tailer.next(), if readable => {
                    let now = environment::now();
                    match event {
                        Event::Idle => self.level(),
                        Event::Chunk(chunk) => {
                            self.process.mark_first_read();
                            self.rest.disturb();
                            let head = &mut self.head;
                            self.meter.within(Work::Lines, || head.event(Event::Chunk(chunk), now));
                        }
                        event => self.head.event(event, now),
                    }
                }
                () = self.log.room(), if !self.log.has_room() => room_again = true,
                () = sleep_until(wake) => {}
            }
            if self.is_due(decided) || room_again || !self.head.has_room() {
                decided = Instant::now();
                self.step();
                // what was decided goes out before more is read: lanes find it still at hand
                tokio::task::yield_now().await;
            }
            let traces = self.traces.as_ref();
            if self.lanes.iter().any(LaneHandle::is_finished)
                || traces.is_some_and(SpanLaneHandle::is_finished)
            {
                bail!(
                    "a destination's task ended by itself; starting again continues where it was"
                );
            }
        }
    }

    /// Whether verdicts are to be taken now. While many lines wait we are awake anyway, and the
    /// sooner they leave the less of them pile up.
    fn is_due(&self, decided: Instant) -> bool {
        let Some(due) = self.head.deadline() else {
            return false;
        };
        if self.ledger.lock().waiting() >= CROWD_LINES {
            return due <= environment::now();
        }
        wake_at(due, decided) <= Instant::now()
    }

    /// Takes verdicts, asks the hub, forgets what is too old.
    fn step(&mut self) {
        let now = environment::now();
        if let (Some(listening), Some(first)) = (self.newborn, self.head.first_line()) {
            self.newborn = None;
            if first < listening {
                let mut sink = LedgerSink::new(self.ledger.clone(), EXPORT_DELAY);
                note_late_start(&mut sink, &self.spans, listening);
            }
        }
        let (head, ledger, hub) = (&mut self.head, &self.ledger, &self.hub);
        self.meter.within(Work::Lines, || {
            head.flush_idle(now);
            head.decide(now);
        });
        let mut ledger = ledger.lock();
        for trace in ledger.take_questions() {
            hub.ask_trace(trace);
        }
        for context in ledger.take_context_questions() {
            hub.ask_app_context(&context);
        }
        for operation in ledger.take_operations() {
            hub.tell(Fact::Operation(operation));
        }
        drop(ledger);
        if self.trimmed.elapsed() >= TRIM_EVERY {
            self.trimmed = Instant::now();
            let keep = nanos(*self.current.settings.spans.keep);
            self.spans.trim(now.minus(keep));
        }
    }

    fn learn(&mut self, learned: Learned) {
        let mut ledger = self.ledger.lock();
        match learned {
            Learned::Made(fact) => ledger.fact(&Fact::TraceUser(fact)),
            Learned::Conflict(trace) => ledger.conflict(trace),
            Learned::Operation(operation) => ledger.fact(&Fact::Operation(operation)),
        }
    }

    /// Everything is read: files that no lane needs any more are closed, and what is missing is said.
    fn level(&mut self) {
        self.places.look(&mut self.head);
        let end = self.log.end();
        let passed = |lane: &&str| {
            self.log
                .position(lane)
                .is_ok_and(|(position, _)| position >= end)
        };
        if !self.head.is_busy() && self.lane_names.iter().all(passed) {
            let head = &self.head;
            self.files.retain(|key| head.reads(key));
        }
    }

    /// Decides what can be decided, delivers what can be delivered, within the grace period.
    pub(crate) async fn finish(mut self) {
        let deadline = Instant::now() + *self.current.settings.shutdown_grace;
        let all_read = self.settle(deadline).await;
        self.head.release(environment::now());
        self.step();
        let mut left = self.head.held();
        if let Some(traces) = &self.traces {
            traces.hurry();
        }
        for lane in std::mem::take(&mut self.lanes) {
            left += lane.drain(deadline).await.left;
        }
        if let Some(traces) = self.traces.take() {
            left += traces.drain(deadline).await;
        }
        self.background.cancel();
        if let Err(error) = self.log.sync() {
            tracing::warn!(%error, "verdict log cannot be synced");
        }
        if let Err(error) = self.spans.spool().sync() {
            tracing::warn!(%error, "spool cannot be synced");
        }
        match (left, all_read) {
            (0, true) => tracing::info!("everything is delivered"),
            (left, true) => tracing::warn!(
                left,
                "not everything could be delivered; the next start goes on"
            ),
            (left, false) => tracing::warn!(
                left,
                "there was no time to read the logs to their end; the next start goes on, if they are there: a longer shutdown_grace would help"
            ),
        }
    }

    /// Reads on until the logs are at their end and lines that wait for evidence have waited, but no
    /// longer than half of the grace period. Answers whether the logs are at their end.
    async fn settle(&mut self, deadline: Instant) -> bool {
        let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
        let stop = CancellationToken::new();
        let timer = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            timer.cancel();
        });
        let mut all_read = false;
        self.tailer.look_again();
        while !(stop.is_cancelled() || all_read && !self.head.is_busy()) {
            let room = self.head.has_room() && self.log.has_room();
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.tailer.next(), if room => {
                    all_read = matches!(event, Event::Idle);
                    self.head.event(event, environment::now());
                }
                () = tokio::time::sleep(DECIDE_EVERY) => {}
            }
            self.step();
            while let Ok(learned) = self.learned.try_recv() {
                self.learn(learned);
            }
            // lanes deliver meanwhile
            tokio::task::yield_now().await;
        }
        all_read
    }
}

/// What keeps log and memory in order.
fn spawn_keepers(log: &LogHandle, rest: &Rest, ledger: &SharedLedger, stop: &CancellationToken) {
    tokio::spawn(synced(log.clone(), stop.clone()));
    tokio::spawn(rest.clone().watch(ledger.clone(), stop.clone()));
}

async fn synced(log: LogHandle, stop: CancellationToken) {
    log.keep_synced(stop).await;
}
