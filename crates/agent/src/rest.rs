//! On the way from busy to idle: memory that a burst needed is given back, once.
//!
//! Nothing ticks at rest. While something happens, the watch looks every [`QUIET`] whether it still
//! does; when it does not, collections shrink to what they hold, and the allocator returns what was
//! freed. By itself it keeps a free page of each size, and looks at the others only when one more is
//! freed.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use head::SharedLedger;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::environment::now;

/// So long nothing happens before memory is given back.
const QUIET: Duration = Duration::from_secs(2);

/// Where those who work say so. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How often something happened.
    events: AtomicU64,
    /// Whether the watch looks again by itself.
    awake: AtomicBool,
    begins: Notify,
}

impl Rest {
    /// Something happens.
    pub(crate) fn disturb(&self) {
        self.0.events.fetch_add(1, Ordering::Relaxed);
        if !self.0.awake.swap(true, Ordering::Relaxed) {
            self.0.begins.notify_one();
        }
    }

    /// Gives memory back whenever it becomes quiet, until `stop`.
    pub(crate) async fn watch(self, ledger: SharedLedger, stop: CancellationToken) {
        let watch = async {
            loop {
                self.quiet().await;
                // what moves finds pages that nobody has used, and leaves pages that nobody uses
                collect();
                ledger.lock().rest(now());
                collect();
                ledger.lock().settle();
                collect();
            }
        };
        stop.run_until_cancelled(watch).await;
    }

    /// Waits until something has happened, and then nothing more for a while.
    async fn quiet(&self) {
        self.0.begins.notified().await;
        let mut seen = 0;
        loop {
            let events = self.0.events.load(Ordering::Relaxed);
            if events == seen {
                break;
            }
            seen = events;
            sleep(QUIET).await;
        }
        self.0.awake.store(false, Ordering::Relaxed);
    }
}

/// Makes the allocator return every page that nobody uses: that is what it does when a request cannot be
/// served, and this one never can.
fn collect() {
    let mut everything = Vec::<u8>::new();
    let refused = black_box(&mut everything).try_reserve_exact(isize::MAX.cast_unsigned());
    debug_assert!(refused.is_err(), "so much memory there is not");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn it_is_quiet_when_nothing_happened_for_a_while() {
        let rest = Rest::default();
        for _ in 0..2 {
            let started = Instant::now();
            rest.disturb();
            let work = async {
                sleep(QUIET / 2).await;
                rest.disturb();
            };
            tokio::join!(rest.quiet(), work);
            assert_eq!(started.elapsed(), QUIET * 2);
            assert!(
                timeout(QUIET * 9, rest.quiet()).await.is_err(),
                "no disturbance, no work"
            );
        }
    }
}
