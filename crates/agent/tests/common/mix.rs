//! Requests that are told of in every way there is, and what is to be counted of them.

use std::collections::BTreeMap;
use std::time::Duration;

use model::time::UnixNanos;

use super::pod::{Container, now};
use super::requests::{Request, TAKES};
use super::sidecar::{Setup, Sidecar};

/// Counts by what was counted.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What requests are counted by.
pub(crate) const LABELS: [&str; 4] = ["route", "action", "method", "status_class"];
const ROUTE: &str = "/v2/projects/{project}/composite-apps/{compositeApp}/{compositeAppVersion}\
                     /deployment-intent-groups/{deploymentIntentGroup}/instantiate";
const PATH: &str = "/v2/projects/p1/composite-apps/ca/v1/deployment-intent-groups/d1/instantiate";

/// One request for each way to hear of one: the bodies of its spans, and what is to be counted.
pub(crate) struct Mix {
    pub(crate) bodies: Vec<Vec<u8>>,
    pub(crate) expected: Counts,
}

impl Mix {
    pub(crate) fn new(setup: &Setup, rounds: u64) -> Self {
        let (mut service, mut proxy) = (setup.service(), setup.pod.container("istio-proxy"));
        let mut mix = Counts::new();
        let mut bodies = Vec::new();
        service.ago(Duration::from_mins(2)).logrus("started");
        for round in 0..rounds {
            let start = now() - (100 - round % 80) * 1_000_000_000;
            let request =
                |number: u64| Request::new(round * 10 + number, start + number * 50_000_000);
            let line = |service: &mut Container, request: &Request, status| {
                access_line(
                    service,
                    "POST",
                    PATH,
                    status,
                    request.start + TAKES + 1_000_000,
                );
            };
            let mut expect = |class: &str, route: &str, action: &str, method: &str| {
                let key = format!("{route} {action} {method} {class}");
                *mix.entry(key).or_default() += 1;
            };
            // told by all: records of begin and end, span, access line
            let all = request(0);
            proxy.at(all.start).says(&all.access_start(), "");
            proxy.at(all.start + TAKES).says(&all.access(), "");
            bodies.push(all.body());
            line(&mut service, &all, 202);
            expect("2xx", ROUTE, "instantiate", "POST");
            // around the proxy: the access line says the status
            let around = request(1);
            bodies.push(around.body());
            line(&mut service, &around, 409);
            expect("4xx", ROUTE, "instantiate", "POST");
            // not sampled: no span
            let unsampled = request(2);
            proxy
                .at(unsampled.start + TAKES)
                .says(&unsampled.access(), "");
            line(&mut service, &unsampled, 202);
            expect("2xx", ROUTE, "instantiate", "POST");
            // nobody but the access line: no such route
            access_line(
                &mut service,
                "GET",
                "/v2/nothing/secret?x=1",
                404,
                start + 400_000_000,
            );
            expect("4xx", "unmatched", "unmatched", "GET");
            // the handler panicked: a span, and no access line
            let panicked = request(4);
            bodies.push(panicked.body());
            expect("unknown", ROUTE, "instantiate", "POST");
            // the proxy answered by itself
            let unanswered = request(5);
            let record = unanswered.access().replace(":202", ":503");
            proxy.at(unanswered.start + TAKES).says(&record, "");
            expect("5xx", ROUTE, "instantiate", "POST");
            // it began and has not ended
            proxy.says(&request(6).access_start(), "");
            access_line(&mut service, "GET", "/metrics", 200, start + 600_000_000);
            expect("2xx", "/metrics", "scrape", "GET");
        }
        Self {
            bodies,
            expected: mix,
        }
    }
}

/// An access line as the service prints it.
fn access_line(container: &mut Container, method: &str, path: &str, status: u16, at: u64) {
    let second = UnixNanos(at).to_string();
    let (day, time) = (&second[8..10], &second[11..19]);
    let text = format!(
        "127.0.0.6 - - [{day}/Nov/2026:{time} +0000] \"{method} {path} HTTP/1.1\" {status} 12"
    );
    container.at(at).physical("stdout", 'F', text.as_bytes());
}

/// The samples of a family, by its labels but those in `without`.
pub(crate) async fn samples(sidecar: &Sidecar, name: &str, labels: &[&str]) -> Counts {
    let page = sidecar.page().await;
    let mut samples = Counts::new();
    for line in page.lines() {
        let Some((found, value)) = line
            .strip_prefix(name)
            .and_then(|rest| rest.rsplit_once(' '))
        else {
            continue;
        };
        let Some(found) = found
            .strip_prefix('{')
            .and_then(|found| found.strip_suffix('}'))
        else {
            continue;
        };
        let value_of = |label: &&str| {
            let mut pairs = found.split("\",").map(|pair| pair.trim_end_matches('"'));
            let named = pairs.find_map(|pair| pair.strip_prefix(&format!("{label}=\"")));
            named
                .unwrap_or_else(|| panic!("{line} has no {label}"))
                .to_owned()
        };
        let key: Vec<String> = labels.iter().map(value_of).collect();
        *samples.entry(key.join(" ")).or_default() += value.parse::<u64>().unwrap();
    }
    samples
}
