//! Reads what the page needs out of an exposition in the text format of Prometheus or `OpenMetrics`.

use std::collections::BTreeMap;

use crate::serve::store::Sample;

const REQUESTS: &str = "emco_requests_total";
const BUCKETS: &str = "emco_request_duration_seconds_bucket";

/// Sums by service of one exposition; series without the label `service` count for `target`, which is
/// always among them: nothing counted yet is zero. Lines that are not understood are left out.
pub(super) fn read(text: &str, target: &str) -> BTreeMap<String, Sample> {
    let mut services = BTreeMap::from([(target.to_owned(), Sample::default())]);
    for line in text.lines() {
        let is_wanted = line.starts_with(REQUESTS) || line.starts_with(BUCKETS);
        let Some(series) = is_wanted.then(|| Series::parse(line)).flatten() else {
            continue;
        };
        let service = series.label("service").unwrap_or(target);
        let sample = services.entry(service.to_owned()).or_default();
        match series.name {
            REQUESTS => {
                sample.requests += series.value;
                if series.is_error() {
                    sample.errors += series.value;
                }
            }
            BUCKETS => {
                if let Some(limit) = series.label("le").and_then(|limit| limit.parse().ok()) {
                    add(&mut sample.buckets, limit, series.value);
                }
            }
            _ => {}
        }
    }
    services
}

/// Adds to the bucket with this upper limit; buckets stay sorted.
fn add(buckets: &mut Vec<(f64, f64)>, limit: f64, value: f64) {
    match buckets.binary_search_by(|(known, _)| known.total_cmp(&limit)) {
        Ok(at) => {
            if let Some((_, sum)) = buckets.get_mut(at) {
                *sum += value;
            }
        }
        Err(at) => buckets.insert(at, (limit, value)),
    }
}

/// One line with a value.
struct Series<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl<'a> Series<'a> {
    /// `name{label="value",…} value [time] [# exemplar]`
    fn parse(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at_checked(end)?;
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                labels.push((label.trim_start_matches([',', ' ']), value));
                rest = after;
            }
            rest = rest.strip_prefix('}')?;
        }
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self {
            name,
            labels,
            value,
        })
    }

    fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.iter().find(|(known, _)| *known == name);
        label.map(|(_, value)| value.as_str())
    }

    /// Whether it counts requests that the service failed: class 5 of HTTP, or a gRPC error.
    fn is_error(&self) -> bool {
        let status = self
            .labels
            .iter()
            .filter(|(name, _)| name.contains("status"));
        let mut values = status.map(|(_, value)| value.as_str());
        values.any(|value| value.starts_with('5') || value == "error")
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_service() {
        let text = "# TYPE emco_requests counter\n\
            emco_requests_total{service=\"rsync\",status_class=\"2xx\"} 7 1700000000\n\
            emco_requests_total{route=\"a\\\"},{b=\\\\\",service=\"rsync\",status_class=\"5xx\"} 2 # {trace_id=\"x\"} 1 1\n\
            emco_requests_total{status_class=\"4xx\"} 1.0\n\
            emco_requests_total_of_others 9\n\
            emco_request_duration_seconds_bucket{service=\"rsync\",le=\"+Inf\"} 9\n\
            emco_request_duration_seconds_bucket{service=\"rsync\",le=\"0.5\"} 3\n\
            emco_request_duration_seconds_bucket{service=\"rsync\",route=\"b\",le=\"0.5\"} 1\n\
            emco_requests_total{broken=\"\nemco_requests_total{a} 1\nemco_requests_total x\n";
        let read = read(text, "clm");
        let rsync = &read["rsync"];
        assert_eq!((rsync.requests, rsync.errors), (9.0, 2.0));
        assert_eq!(rsync.buckets, [(0.5, 4.0), (f64::INFINITY, 9.0)]);
        assert_eq!((read["clm"].requests, read["clm"].errors), (1.0, 0.0));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn anything_can_be_read() {
        for text in [
            "",
            "{",
            "emco_requests_total{",
            "emco_requests_total{a=\"\\",
            "\u{0}",
        ] {
            let expected = BTreeMap::from([("x".to_owned(), Sample::default())]);
            assert_eq!(read(text, "x"), expected, "{text}");
        }
    }
}
