//! Tells when settings have changed: their file did, or SIGHUP asked for a look.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::watch::Watch;
use super::{Loaded, Sources};

/// A file that is being written is left alone for so long.
const SETTLE: Duration = Duration::from_millis(100);

/// The settings as they change.
pub(crate) struct Changes {
    sources: Sources,
    hangup: Signal,
    watch: Option<Watch>,
    /// What the file said last; none if it could not be read.
    text: Option<String>,
    /// When to look, once something has happened.
    look: Option<Instant>,
    /// Whether somebody asked, so that there is an answer even if nothing is new.
    asked: bool,
}

/// Settings that were read again.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) loaded: Loaded,
    /// By SIGHUP: connections are made anew even if their settings are the same.
    pub(crate) asked: bool,
}

impl Changes {
    /// Watches from now on, knowing nothing yet. SIGHUP does not end the process any more.
    ///
    /// # Errors
    /// If signals cannot be listened to.
    pub(crate) fn open(sources: Sources) -> Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let watch = sources.file.as_deref().map(Watch::open);
        Ok(Self {
            sources,
            hangup,
            watch,
            text: None,
            look: None,
            asked: false,
        })
    }

    /// Where settings come from.
    pub(crate) const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Reads the settings as they are now.
    pub(crate) fn load(&mut self) -> Loaded {
        // watched first: what changes while it is read is seen then
        if let Some(watch) = &mut self.watch {
            watch.renew();
        }
        let (text, loaded) = self.sources.load_text();
        self.text = text;
        loaded
    }

    /// Waits for a change. Nothing is lost when the wait is cancelled.
    pub(crate) async fn next(&mut self) -> Change {
        loop {
            match self.look {
                Some(look) => {
                    sleep_until(look).await;
                    self.look = None;
                    let before = self.text.take();
                    let loaded = self.load();
                    let asked = std::mem::take(&mut self.asked);
                    if asked || self.text != before {
                        return Change { loaded, asked };
                    }
                }
                None => self.wait().await,
            }
        }
    }

    async fn wait(&mut self) {
        let (hangup, watch) = (&mut self.hangup, &mut self.watch);
        let changed = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = hangup.recv() => self.asked = true,
            () = changed => {}
        }
        self.look = Some(Instant::now() + SETTLE);
    }
}
