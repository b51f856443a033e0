//! The driver: decides when to look, moves events out, and keeps the file set informed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use model::ids::FileKey;
use model::time::UnixNanos;
use tokio::time::Instant;

use crate::disk::OsDisk;
use crate::engine::{Engine, Now, Step, Wait};
use crate::error::Error;
use crate::event::{Chunk, Event, Resume};
use crate::generations::Generations;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::reader::FileSet;
use crate::settings::Settings;
use crate::watch::{Hint, Watch};

/// Follows all configured files; not calling [`Tailer::next`] is the back-pressure.
pub struct Tailer {
    engine: Engine<OsDisk>,
    files: Arc<FileSet>,
    watch: Watch,
    pace: Pace,
    started: Instant,
    /// Set while everything is handed out.
    waiting: Option<Wait>,
    woken: Option<Hint>,
    watched: bool,
}

impl Tailer {
    /// Begins to follow what `settings` name; `resume` says for each file, when it is opened, how far
    /// it is covered from before. To be called inside a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`Error::PodName`]. Directories and files that are missing or unreadable are no error here.
    pub fn open(
        settings: Settings,
        resume: impl Fn(FileKey) -> Resume + Send + 'static,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let disk = OsDisk::new(settings.state.as_ref());
        let generations = Arc::new(Mutex::new(load(&disk, &settings)));
        let mut tailer = Self {
            engine: Engine::new(
                &settings,
                disk.clone(),
                Arc::clone(&generations),
                resume,
                metrics.clone(),
            )?,
            watch: Watch::open(metrics.clone()),
            files: Arc::new(FileSet::new(settings, disk, generations, metrics)),
            pace: Pace::default(),
            started: Instant::now(),
            waiting: None,
            woken: None,
            watched: false,
        };
        tailer.look();
        Ok(tailer)
    }

    /// The followed files, for reading them again.
    pub fn files(&self) -> Arc<FileSet> {
        Arc::clone(&self.files)
    }

    /// The next thing that happened; waits if there is nothing. Cancel-safe: a dropped call loses
    /// nothing.
    pub async fn next(&mut self) -> Event<'_> {
        let step = loop {
            if let Some(wait) = self.waiting {
                self.pause(wait).await;
                self.look();
            }
            let step = self.engine.step(self.now());
            self.files.take_over(self.engine.take_opened());
            match step {
                Step::Wait(wait) => self.begin_waiting(wait),
                Step::Yield => tokio::task::yield_now().await,
                step => break step,
            }
        };
        self.event(step)
    }

    /// Looks at once for what was written meanwhile. [`Event::Idle`] says when all of it was handed
    /// out, also if it was nothing.
    pub fn look_again(&mut self) {
        self.woken = Some(Hint::Names);
        self.look();
        self.engine.tell_idle();
    }

    fn look(&mut self) {
        self.waiting = None;
        let names = self.woken.take() == Some(Hint::Names);
        let scan = self.pace.poll(self.started.elapsed(), names);
        self.engine.poll(scan);
    }

    fn begin_waiting(&mut self, wait: Wait) {
        self.pace.rest(wait);
        let wanted = self.engine.directories();
        if self.watch.follow(&wanted, self.pace.is_resting()) {
            // What happened before it was watched is found by looking once more.
            self.woken = Some(Hint::Names);
        }
        self.watched = self.watch.covers(&wanted);
        self.waiting = Some(wait);
    }

    async fn pause(&mut self, wait: Wait) {
        while self.woken.is_none() {
            let due = self.started + self.pace.due(wait, self.watched);
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                hint = self.watch.changed() => self.woken = Some(hint),
            }
        }
        tokio::time::sleep_until(self.started + self.pace.earliest()).await;
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = wall.as_ref().map_or(0, Duration::as_nanos);
        Now {
            at: self.started.elapsed(),
            wall: UnixNanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
        }
    }

    fn event(&self, step: Step) -> Event<'_> {
        match step {
            Step::ContainerFound(container, info) => Event::ContainerFound { container, info },
            Step::RestartSeen(container, restart) => Event::RestartSeen { container, restart },
            Step::FileOpened(opened) => Event::FileOpened(opened),
            Step::FileEnded(ended) => Event::FileEnded(ended),
            Step::ContainerEnded(container) => Event::ContainerEnded { container },
            Step::Trouble(trouble) => Event::Trouble(trouble),
            Step::Chunk(chunk) => Event::Chunk(Chunk {
                container: chunk.container,
                file: chunk.file,
                offset: chunk.offset,
                bytes: self.engine.bytes(&chunk),
                replayed: chunk.replayed,
            }),
            Step::Idle | Step::Yield | Step::Wait(_) => Event::Idle,
        }
    }
}

fn load(disk: &OsDisk, settings: &Settings) -> Generations {
    let state = match disk.load() {
        Ok(Some(state)) => state,
        Ok(None) => return Generations::default(),
        Err(error) => {
            tracing::error!(path = ?settings.state, %error, "state of plain files cannot be read: they are read again from their start");
            return Generations::default();
        }
    };
    Generations::parse(&state).unwrap_or_else(|| {
        tracing::error!(path = ?settings.state, "state of plain files is damaged: they are read again from their start");
        Generations::default()
    })
}
