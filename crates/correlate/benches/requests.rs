//! What a request costs before it is counted: its route, and finding its access line. Prints
//! nanoseconds a request.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints its result and ends where it cannot go on"
)]

use std::hint::black_box;
use std::time::Instant;

use correlate::census::{AccessLine, Census, Heard};
use correlate::{Ledger, Settings};
use model::time::UnixNanos;

const REQUESTS: u64 = 1_000_000;
const PATHS: [(&str, &str); 4] = [
    (
        "POST",
        "/v2/projects/p1/composite-apps/ca/v1/deployment-intent-groups/d1/instantiate",
    ),
    (
        "GET",
        "/v2/projects/p1/composite-apps/ca/v1/deployment-intent-groups/d1/status?type=cluster",
    ),
    ("GET", "/v2/projects/p1"),
    ("PUT", "/v2/controllers/rsync"),
];

fn main() {
    let routes = Ledger::new(Settings::of("orchestrator")).routes();
    let start = Instant::now();
    for (method, path) in PATHS.into_iter().cycle().take(1_000_000) {
        black_box(routes.http(black_box(method), black_box(path)));
    }
    let route = start.elapsed().as_nanos() as f64 / REQUESTS as f64;
    let mut census = Census::default();
    let start = Instant::now();
    for (number, (method, path)) in (0..REQUESTS).zip(PATHS.into_iter().cycle()) {
        let end = UnixNanos(1_795_000_000_000_000_000 + number * 1_000_000);
        let waits = census.line(&AccessLine {
            method,
            path,
            status: 200,
            started: UnixNanos(end.0 / 1_000_000_000 * 1_000_000_000),
            printed: end,
        });
        assert!(waits.is_none(), "nothing waits");
        let heard = Heard {
            method,
            path,
            status: 200,
            start: end.minus(1_000_000),
            end,
        };
        let met = census.request(&heard, number, end).unwrap();
        assert_eq!(met, Some((number, 200)), "it is its line");
    }
    let line = start.elapsed().as_nanos() as f64 / REQUESTS as f64;
    println!("route_ns {route:.0}");
    println!("access_line_ns {line:.0}");
}
