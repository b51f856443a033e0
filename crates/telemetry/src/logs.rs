//! Own logs: one JSON object a line on stderr.
//!
//! ```text
//! {"timestamp":"2026-11-23T06:12:00.1Z","level":"WARN","fields":{"message":"…",…},"target":"…"}
//! ```
//! A call site that storms is cut after a burst (20 lines in 10 s) and summarised by a line
//! `{"…","message":"log lines suppressed","suppressed":980,"callsite":"src/a.rs:7"}` that comes with
//! the next line of any call site, or with [`Logs::flush`]. The write is blocking: what may be
//! written is bounded by the burst.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Error;
use crate::limit::{Limiter, Suppressed};
use crate::mask::mask;

/// The filter used where the operator gave none.
pub const DEFAULT_FILTER: &str = "info";

/// A handle to the process's logs.
#[derive(Clone, Debug)]
pub struct Logs {
    sites: Arc<Mutex<Sites>>,
    levels: reload::Handle<Targets, Registry>,
}

impl Logs {
    /// Whether `filter` is understood.
    ///
    /// # Errors
    /// [`Error::Filter`] if it is not.
    pub fn check(filter: &str) -> Result<(), Error> {
        filter_of(filter).map(drop)
    }

    /// Sends the logs of the whole process that pass `filter` (`info`, `info,hub=debug`) to stderr.
    ///
    /// # Errors
    /// [`Error::Filter`] if `filter` is not understood, [`Error::Installed`] if called twice.
    pub fn install(filter: &str) -> Result<Self, Error> {
        let (logs, subscriber) = Self::subscriber(filter, io::stderr)?;
        subscriber.try_init().map_err(Error::Installed)?;
        Ok(logs)
    }

    /// Lets pass what passes `filter` from now on.
    ///
    /// # Errors
    /// [`Error::Filter`] if `filter` is not understood; nothing changes then.
    pub fn set_filter(&self, filter: &str) -> Result<(), Error> {
        let targets = filter_of(filter)?;
        // without a subscriber nobody listens
        drop(self.levels.reload(targets));
        Ok(())
    }

    /// Writes the summaries that no later line has carried yet; for the end of the process.
    pub fn flush(&self) {
        let summaries = self.lock().take_all();
        for line in summaries {
            if io::Write::write_all(&mut io::stderr().lock(), line.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn subscriber<W>(
        filter: &str,
        writer: W,
    ) -> Result<(Self, impl Subscriber + Send + Sync + 'static), Error>
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let (targets, levels) = reload::Layer::new(filter_of(filter)?);
        let logs = Self {
            sites: Arc::new(Mutex::new(Sites::new())),
            levels,
        };
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(Limited {
                inner: Format::default().json(),
                logs: logs.clone(),
            })
            .with_writer(writer);
        let subscriber = tracing_subscriber::registry().with(targets).with(layer);
        Ok((logs, subscriber))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sites> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Levels by target. Filters for spans and fields would need regular expressions: 0.4 MB of code.
fn filter_of(filter: &str) -> Result<Targets, Error> {
    filter.parse().map_err(|source| Error::Filter {
        filter: filter.to_owned(),
        source,
    })
}

/// What the limiter knows of each call site.
#[derive(Debug)]
struct Sites {
    limiter: Limiter<Site>,
}

impl Sites {
    fn new() -> Self {
        Self {
            limiter: Limiter::new(),
        }
    }

    /// Whether the event may be written, and the summaries that are due before it.
    fn admit(&mut self, metadata: &'static Metadata<'static>) -> (bool, Vec<String>) {
        let now = Instant::now();
        let due = self.limiter.take_finished(now);
        let admitted = self.limiter.admit(Site(metadata), now);
        (admitted, due.iter().map(summary).collect())
    }

    fn take_all(&mut self) -> Vec<String> {
        let due = self.limiter.take_all(Instant::now());
        due.iter().map(summary).collect()
    }
}

/// A call site, compared by identity.
#[derive(Clone, Copy)]
struct Site(&'static Metadata<'static>);

impl Site {
    fn identity(self) -> Identifier {
        self.0.callsite()
    }
}

impl PartialEq for Site {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Site {}

impl std::hash::Hash for Site {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

impl Site {
    fn place(self) -> String {
        match (self.0.file(), self.0.line()) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            _ => self.0.name().to_owned(),
        }
    }
}

fn summary(suppressed: &Suppressed<Site>) -> String {
    let mut timestamp = String::new();
    if SystemTime
        .format_time(&mut Writer::new(&mut timestamp))
        .is_err()
    {
        timestamp.clear();
    }
    let line = serde_json::json!({
        "timestamp": timestamp,
        "level": suppressed.site.0.level().as_str(),
        "fields": {
            "message": "log lines suppressed",
            "suppressed": suppressed.lines,
            "callsite": suppressed.site.place(),
        },
        "target": "telemetry",
    });
    format!("{line}\n")
}

/// The JSON format with the limit before it and the mask behind it.
struct Limited {
    inner: Format<Json>,
    logs: Logs,
}

impl<S, N> FormatEvent<S, N> for Limited
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (admitted, summaries) = self.logs.lock().admit(event.metadata());
        for line in summaries {
            writer.write_str(&line)?;
        }
        if !admitted {
            return Ok(());
        }
        let mut line = String::with_capacity(256);
        self.inner
            .format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&mask(&line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::BURST;
    use serde_json::Value;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        fn lines(&self) -> Vec<Value> {
            String::from_utf8(self.0.lock().unwrap().clone())
                .unwrap()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    fn captured(filter: &str, body: impl FnOnce()) -> (Logs, Vec<Value>) {
        let captured = Captured::default();
        let writer = captured.clone();
        let (logs, subscriber) = Logs::subscriber(filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, body);
        (logs, captured.lines())
    }

    #[test]
    fn a_line_is_json_with_its_fields_and_no_secret() {
        let (_, lines) = captured("info", || {
            tracing::info!(
                peer = "http://u:p@x:1/",
                shared_key = "abc",
                bytes = 7,
                "connected"
            );
            tracing::debug!("not shown");
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["level"], "INFO");
        let fields = &lines[0]["fields"];
        assert_eq!(fields["message"], "connected");
        assert_eq!(fields["bytes"], 7);
        assert_eq!(fields["peer"], "http://[masked]@x:1/");
        assert_eq!(fields["shared_key"], "[masked]");
    }

    #[test]
    fn a_storm_is_cut_but_others_still_speak() {
        let (logs, lines) = captured("info", || {
            for attempt in 0..500 {
                tracing::warn!(attempt, "refused");
            }
            tracing::info!("stopped");
        });
        assert_eq!(lines.len(), BURST as usize + 1);
        assert_eq!(lines[BURST as usize]["fields"]["message"], "stopped");
        let left = logs.lock().take_all();
        assert_eq!(left.len(), 1);
        let summary: Value = serde_json::from_str(&left[0]).unwrap();
        assert_eq!(summary["fields"]["suppressed"], 500 - u64::from(BURST));
        assert!(
            summary["fields"]["callsite"]
                .as_str()
                .unwrap()
                .contains("logs.rs:")
        );
    }

    #[test]
    fn levels_can_change_while_it_runs() {
        let captured = Captured::default();
        let writer = captured.clone();
        let (logs, subscriber) = Logs::subscriber("info", move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            for filter in ["info", "debug", "off", "telemetry=debug"] {
                logs.set_filter(filter).unwrap();
                tracing::debug!(filter, "said");
            }
            assert!(logs.set_filter("info,hub=loud").is_err());
            tracing::debug!(filter = "as before", "said");
        });
        let lines = captured.lines();
        let filters: Vec<_> = lines.iter().map(|line| &line["fields"]["filter"]).collect();
        assert_eq!(filters, ["debug", "telemetry=debug", "as before"]);
    }

    #[test]
    fn a_filter_that_is_not_one_is_refused() {
        assert!(Logs::check("info,hub=debug").is_ok());
        assert!(Logs::check("info,hub=loud").is_err());
        let error = Logs::subscriber("info,hub=loud", io::stderr).err().unwrap();
        assert_eq!(
            error.to_string(),
            "log filter \"info,hub=loud\" is not understood"
        );
    }
}
