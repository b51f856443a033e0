//! The tailer's own figures.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Something countable that happened to a file, a container or the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Happening {
    Rotation,
    Truncation,
    CopyMissing,
    Restart,
    Deletion,
    Gone,
    Unreadable,
    Damaged,
    WatchOverflow,
    WatchUnavailable,
}

impl Happening {
    const ALL: [Self; 10] = [
        Self::Rotation,
        Self::Truncation,
        Self::CopyMissing,
        Self::Restart,
        Self::Deletion,
        Self::Gone,
        Self::Unreadable,
        Self::Damaged,
        Self::WatchOverflow,
        Self::WatchUnavailable,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Rotation => "rotation",
            Self::Truncation => "truncation",
            Self::CopyMissing => "truncation_copy_missing",
            Self::Restart => "restart",
            Self::Deletion => "deletion",
            Self::Gone => "gone",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::WatchOverflow => "inotify_overflow",
            Self::WatchUnavailable => "inotify_unavailable",
        }
    }
}

/// Counters and gauges; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) read: IntCounter,
    pub(crate) replayed: IntCounter,
    pub(crate) reread: IntCounter,
    pub(crate) polls: IntCounter,
    pub(crate) open: IntGauge,
    happenings: IntCounterVec,
}

impl Metrics {
    /// Registers the figures.
    ///
    /// # Errors
    /// If they are registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("emco_observer_tail_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let happenings = IntCounterVec::new(
            Opts::new(
                "emco_observer_tail_events_total",
                "What happened to followed files, by kind",
            ),
            &["event"],
        )?;
        registry.register(Box::new(happenings.clone()))?;
        for happening in Happening::ALL {
            happenings.with_label_values(&[happening.label()]);
        }
        let open = IntGauge::new(
            "emco_observer_tail_open_files",
            "Log files kept open for reading",
        )?;
        registry.register(Box::new(open.clone()))?;
        Ok(Self {
            read: counter(
                "read_bytes_total",
                "Uncompressed log bytes read for the first time",
            )?,
            replayed: counter(
                "replayed_bytes_total",
                "Log bytes read once more after a restart, as evidence only",
            )?,
            reread: counter(
                "reread_bytes_total",
                "Log bytes read from files again for outputs",
            )?,
            polls: counter("polls_total", "How often followed files were looked at")?,
            open,
            happenings,
        })
    }

    pub(crate) fn count(&self, happening: Happening) {
        self.happenings
            .with_label_values(&[happening.label()])
            .inc();
    }
}
