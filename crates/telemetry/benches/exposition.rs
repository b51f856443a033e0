//! How long a page of 5 000 series takes, from the registry to the text: the median of many, in
//! milliseconds of CPU time, for each format.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its result and ends where it cannot go on"
)]

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use rustix::time::{ClockId, clock_gettime};
use telemetry::exposition::{Format, render_as};
use telemetry::side_table::{Exemplar, SideTable};

const ROUNDS: usize = 101;
/// Label names in the order in which they are shown.
const LABELS: [&str; 5] = ["action", "method", "route", "service", "status_class"];
const COUNTERS: usize = 2_000;
/// Each has 15 samples: 12 bounds, beyond them, sum and count.
const HISTOGRAMS: usize = 200;

fn main() {
    let (registry, side) = filled();
    for (name, format) in [("text", Format::Text), ("openmetrics", Format::OpenMetrics)] {
        let mut millis: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = cpu_millis();
                let page = render_as(format, &registry, &side).unwrap();
                let taken = cpu_millis() - start;
                assert!(page.lines().count() > 5_000, "too few series");
                taken
            })
            .collect();
        millis.sort_by(f64::total_cmp);
        let median = millis.get(ROUNDS / 2).copied().unwrap();
        println!("scrape_ms_5000_series {name} {median:.3}");
    }
}

fn cpu_millis() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap();
    f64::from(u32::try_from(time.tv_sec).unwrap()) * 1e3 + f64::from(nanos) / 1e6
}

fn filled() -> (Registry, SideTable) {
    let (registry, side) = (Registry::new(), SideTable::default());
    let counters = Opts::new("bench_requests_total", "Requests.");
    let counters = IntCounterVec::new(counters, &LABELS).unwrap();
    registry.register(Box::new(counters.clone())).unwrap();
    let histograms = HistogramOpts::new("bench_seconds", "Durations.");
    let bounds = (1_u8..=12).map(|bound| f64::from(bound) / 10.0).collect();
    let histograms = HistogramVec::new(histograms.buckets(bounds), &LABELS).unwrap();
    registry.register(Box::new(histograms.clone())).unwrap();
    for number in 0..COUNTERS {
        let route = format!("/v2/projects/{{project}}/composite-apps/{{compositeApp}}/{number}");
        let values = ["instantiate", "POST", &route, "orchestrator", "2xx"];
        counters.with_label_values(&values).inc();
        let noted = side.series("bench_requests_total", &values, 1.795e9);
        let exemplar = Exemplar {
            trace_id: [7; 16],
            value: 0.25,
            at_seconds: 1.795e9,
        };
        noted.put(0, exemplar);
        if number < HISTOGRAMS {
            histograms.with_label_values(&values).observe(0.25);
            side.series("bench_seconds", &values, 1.795e9)
                .put(2, exemplar);
        }
    }
    (registry, side)
}
