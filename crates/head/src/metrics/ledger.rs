//! The state of the ledger, looked at when somebody asks.

use std::collections::BTreeMap;

use correlate::routes::Routes;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, MetricFamily};
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::labels::{GRPC_METHOD, method};
use super::requests::NO_ROUTE;
use crate::ledger::SharedLedger;

/// Shows requests in flight and the size of the ledger.
pub(crate) struct LedgerView {
    ledger: SharedLedger,
    routes: Routes,
    in_flight: IntGaugeVec,
    waiting: IntGauge,
    origins: IntGauge,
}

impl LedgerView {
    pub(crate) fn new(ledger: SharedLedger, service: &str) -> prometheus::Result<Self> {
        let in_flight = Opts::new(
            "emco_requests_in_flight",
            "Requests that began and have not ended, where the proxy says when they begin.",
        );
        let routes = ledger.lock().routes();
        Ok(Self {
            ledger,
            routes,
            in_flight: IntGaugeVec::new(
                in_flight.const_label("service", service),
                &["route", "action", "method"],
            )?,
            waiting: IntGauge::new(
                "emco_observer_ledger_waiting_lines",
                "Lines that wait for evidence.",
            )?,
            origins: IntGauge::new(
                "emco_observer_ledger_origins",
                "Requests, workers and other origins that lines can have.",
            )?,
        })
    }

    fn refresh(&self) {
        let ledger = self.ledger.lock();
        self.waiting.set(count(ledger.waiting()));
        self.origins.set(count(ledger.origins()));
        let mut flying: BTreeMap<[&str; 3], i64> = BTreeMap::new();
        ledger.in_flight(|request| {
            let (route, method) = if request.grpc {
                let route = self.routes.rpc(request.method, request.path);
                (route, GRPC_METHOD)
            } else {
                let route = self.routes.http(request.method, request.path);
                (route, method(request.method))
            };
            let route = route.unwrap_or(NO_ROUTE);
            *flying
                .entry([route.template, route.action, method])
                .or_default() += 1;
        });
        drop(ledger);
        // series that were shown once go down to 0 instead of going away
        for metric in self
            .in_flight
            .collect()
            .iter()
            .flat_map(MetricFamily::get_metric)
        {
            let value = |name: &str| {
                let mut labels = metric.get_label().iter();
                labels
                    .find(|label| label.name() == name)
                    .map(LabelPair::value)
            };
            let labels = ["route", "action", "method"].map(|name| value(name).unwrap_or_default());
            if !flying.contains_key(&labels) {
                self.in_flight.with_label_values(&labels).set(0);
            }
        }
        for (labels, flying) in flying {
            self.in_flight.with_label_values(&labels).set(flying);
        }
    }

    fn parts(&self) -> [&dyn Collector; 3] {
        [&self.in_flight, &self.waiting, &self.origins]
    }
}

impl Collector for LedgerView {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        let parts = self.parts().into_iter();
        parts.flat_map(Collector::collect).collect()
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
