//! When what has to be written: the recording's time moved to now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::shift::Shift;

const NANOS: u64 = 1_000_000_000;

/// The clock of a replay.
#[derive(Debug)]
pub(super) struct Pace {
    shift: Shift,
    /// Shifted time of the recording's first line, and the moment it is written.
    first_ns: u64,
    start: Instant,
    speed: f64,
    stop: CancellationToken,
}

impl Pace {
    /// Lets a recording that began at `recorded_ns` begin after `delay`, or up to a second later.
    pub(super) fn start(
        recorded_ns: u64,
        delay: Duration,
        speed: f64,
        stop: CancellationToken,
    ) -> Self {
        let (now, begin) = (now_ns(), Instant::now());
        let earliest = now.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
        let forward = earliest.saturating_sub(recorded_ns).div_ceil(NANOS);
        let back = recorded_ns.saturating_sub(earliest) / NANOS;
        let seconds = i64::try_from(forward).unwrap_or(i64::MAX) - i64::try_from(back).unwrap_or(0);
        let shift = Shift::new(seconds);
        let first_ns = shift.nanos(recorded_ns);
        Self {
            shift,
            first_ns,
            start: begin + Duration::from_nanos(first_ns.saturating_sub(now)),
            speed,
            stop,
        }
    }

    pub(super) const fn shift(&self) -> Shift {
        self.shift
    }

    /// Waits for the shifted time `at_ns`; `false` if the replay is to end.
    pub(super) async fn wait(&self, at_ns: u64) -> bool {
        if self.stop.is_cancelled() {
            return false;
        }
        let due = self.instant(at_ns);
        if due <= Instant::now() {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep_until(due) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Ends the replay.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Returns when the replay is to end.
    pub(super) async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// How long after its time something that is written now comes.
    pub(super) fn delay_ns(&self, at_ns: u64) -> u64 {
        let late = Instant::now().saturating_duration_since(self.instant(at_ns));
        u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)
    }

    fn instant(&self, at_ns: u64) -> Instant {
        let after = Duration::from_nanos(at_ns.saturating_sub(self.first_ns));
        self.start + after.div_f64(self.speed)
    }
}

/// Nanoseconds since the epoch.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
