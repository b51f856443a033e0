//! Whether the proxy's records name every request, and whether requests send spans.

use crate::origin::{Kind, Origin};

/// Whether the proxy's records name every request of the process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proxied {
    recorded: u64,
    bypassed: u64,
    /// Requests that sent a span of their own, and those that had to and did not.
    traced: u64,
    untraced: u64,
    /// Whether one was told of by its access line only.
    hides: bool,
}

/// After so many requests with spans, and none without, all are taken to send them.
const TRACED_MIN: u64 = 32;
/// The proxy answers so itself where the service cannot be reached.
const UNREACHED: u16 = 503;

impl Proxied {
    /// Counts a request of which everything is known by now. `mapped`: whether the service's routes are
    /// known, so that what has none is answered by its router, without a span and without a line.
    pub(crate) fn count(&mut self, origin: &mut Origin, mapped: bool) {
        let scrape = origin
            .request
            .as_ref()
            .is_some_and(|request| request.path == "/metrics");
        let status = origin.request.as_ref().map_or(0, |request| request.status);
        let routed = matches!(origin.kind, Kind::Request { routed: true, .. });
        if origin.complete {
            self.traced += 1;
        } else if (routed || !mapped) && !matches!(status, 0 | UNREACHED) {
            origin.untraced = true;
            self.untraced += 1;
        }
        match origin.proxy_span {
            Some(_) => self.recorded += 1,
            // scrapes come straight to the port
            None if scrape => {}
            None => self.bypassed += 1,
        }
    }

    /// The span of a request came that was taken to send none.
    pub(crate) fn traced_late(&mut self) {
        self.untraced = self.untraced.saturating_sub(1);
        self.traced += 1;
    }

    /// Whether requests may send no spans: not all are sampled.
    pub(crate) fn samples(self) -> bool {
        self.untraced > 0 || self.traced < TRACED_MIN
    }

    /// A request that had to send a span was told of by its access line only.
    pub(crate) fn hidden(&mut self) {
        self.hides = true;
    }

    /// Whether there are requests of which neither spans nor the proxy tell.
    pub(crate) fn hides(self) -> bool {
        self.hides
    }

    /// Whether some requests came around the proxy.
    pub(crate) fn bypassed(self) -> bool {
        self.bypassed > 0
    }

    /// Some requests came through the proxy and none around it.
    pub(crate) fn complete(self) -> bool {
        self.recorded > 0 && self.bypassed == 0
    }
}
