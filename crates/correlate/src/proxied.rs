//! Whether the proxy's records name every request.

use crate::origin::Origin;

/// Whether the proxy's records name every request of the process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proxied {
    recorded: u64,
    bypassed: u64,
    /// Requests that sent a span of their own, and those that did not.
    traced: u64,
    untraced: u64,
}

/// After so many requests with spans, and few without, all are taken to send them.
const TRACED_MIN: u64 = 32;

impl Proxied {
    /// Counts a request of which everything is known by now.
    pub(crate) fn count(&mut self, origin: &Origin) {
        let scrape = origin
            .request
            .as_ref()
            .is_some_and(|request| request.path == "/metrics");
        if origin.complete {
            self.traced += 1;
        } else {
            self.untraced += 1;
        }
        match origin.proxy_span {
            Some(_) => self.recorded += 1,
            // scrapes come straight to the port
            None if scrape => {}
            None => self.bypassed += 1,
        }
    }

    /// Whether requests may send no spans: not all are sampled.
    pub(crate) fn samples(self) -> bool {
        self.untraced * 20 >= self.traced || self.traced < TRACED_MIN
    }

    /// Some requests came through the proxy and none around it.
    pub(crate) fn complete(self) -> bool {
        self.recorded > 0 && self.bypassed == 0
    }
}
