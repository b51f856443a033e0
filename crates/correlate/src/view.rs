//! What the ledger shows of itself to those who measure.

use crate::ledger::Ledger;
use crate::origin::Kind;
use crate::routes::Routes;

/// A request that began and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight<'a> {
    /// Whether it is a gRPC call.
    pub grpc: bool,
    /// HTTP method, or the gRPC service.
    pub method: &'a str,
    /// Path, or the gRPC method.
    pub path: &'a str,
}

impl Ledger {
    /// The routes of the service, as metrics name them.
    pub fn routes(&self) -> Routes {
        Routes::of(self.state.map.as_ref())
    }

    /// Shows every request that is known to have begun and not to have ended: start records of the
    /// proxy tell of them.
    pub fn in_flight(&self, mut each: impl FnMut(InFlight<'_>)) {
        for origin in self.state.origins.rows() {
            let begun = matches!(origin.kind, Kind::Request { .. }) && origin.end == u64::MAX;
            if let Some(request) = origin.request.as_ref().filter(|_| begun) {
                each(InFlight {
                    grpc: request.grpc,
                    method: &request.method,
                    path: &request.path,
                });
            }
        }
    }

    /// How many requests, workers and other origins are known.
    pub fn origins(&self) -> usize {
        self.state.origins.rows().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use model::evidence::{AccessFacts, Phase, ProxySide};
    use model::ids::{SpanId, TraceId};
    use model::time::UnixNanos;

    #[test]
    fn a_request_is_in_flight_from_its_start_record_to_its_end_record() {
        let mut ledger = Ledger::new(Settings::of("orchestrator"));
        let access = |phase| AccessFacts {
            side: ProxySide::Inbound,
            phase,
            trace: Some(TraceId([1; 16])),
            span: Some(SpanId([1; 8])),
            user: None,
            method: "GET",
            path: "/v2/projects",
            status: 200,
            grpc_status: None,
            cut_short: false,
            request_id: None,
            start: UnixNanos(1_000_000_000),
            duration: 5_000_000,
        };
        let flying = |ledger: &Ledger| {
            let mut flying = Vec::new();
            ledger.in_flight(|request| flying.push((request.grpc, request.path.to_owned())));
            flying
        };
        assert_eq!(flying(&ledger), []);
        ledger.access(&access(Phase::Start), UnixNanos(1_000_000_001));
        assert_eq!(flying(&ledger), [(false, "/v2/projects".to_owned())]);
        ledger.access(&access(Phase::End), UnixNanos(1_000_000_002));
        assert_eq!((flying(&ledger), ledger.origins()), (vec![], 1));
    }
}
