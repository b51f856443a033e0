//! The runtime for targets that need one, made once a thread.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Nothing of this has to wait for anything.
const BOUND: Duration = Duration::from_secs(8);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
}

/// Runs `future` to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| {
        runtime
            .block_on(async { timeout(BOUND, future).await })
            .expect("it ends")
    })
}
