//! Requests, errors and durations of a service over time, as numbers and small drawings.

use super::text;
use crate::serve::store::Sample;

/// Columns of a drawing.
const BINS: usize = 60;
/// Size of a drawing.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 36.0;

/// One service.
pub(super) struct Strip {
    pub(super) service: String,
    pub(super) colour: u32,
    pub(super) requests: String,
    pub(super) errors: String,
    pub(super) failing: bool,
    pub(super) half: String,
    pub(super) most: String,
    /// Columns of all requests, and of those that failed.
    pub(super) columns: Vec<Column>,
    /// What took half and nearly all of the requests, as points of lines.
    pub(super) half_line: String,
    pub(super) most_line: String,
    /// The longest duration that is drawn.
    pub(super) scale: String,
    /// Where a moment of interest is.
    pub(super) mark: Option<Column>,
}

/// A rectangle.
pub(super) struct Column {
    pub(super) left: String,
    pub(super) width: String,
    pub(super) top: String,
    pub(super) height: String,
    pub(super) failed: bool,
}

/// What changed from one moment to the next.
#[derive(Clone, Debug, Default, PartialEq)]
struct Change {
    requests: f64,
    errors: f64,
    /// Upper limit in seconds, and how many took no longer.
    buckets: Vec<(f64, f64)>,
}

impl Strip {
    /// Draws the time from `from` to `to`; `samples` begin with the last one before. `None` if nothing
    /// was sampled.
    pub(super) fn draw(
        service: &str,
        samples: &[Sample],
        (from, to): (u64, u64),
        mark: Option<(u64, u64)>,
    ) -> Option<Self> {
        samples.last()?;
        let bins = bins(samples, from, to);
        let mut all = Change::default();
        for bin in &bins {
            all.add(bin);
        }
        let most: Vec<_> = bins.iter().map(|bin| bin.quantile(0.99)).collect();
        let half: Vec<_> = bins.iter().map(|bin| bin.quantile(0.5)).collect();
        let longest = most.iter().flatten().copied().fold(0.0, f64::max);
        let seconds = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), duration);
        Some(Self {
            service: service.to_owned(),
            colour: text::colour(service),
            requests: count(all.requests),
            errors: count(all.errors),
            failing: all.errors > 0.0,
            half: seconds(all.quantile(0.5)),
            most: seconds(all.quantile(0.99)),
            columns: columns(&bins),
            half_line: line(&half, longest),
            most_line: line(&most, longest),
            scale: seconds((longest > 0.0).then_some(longest)),
            mark: mark.map(|(start, end)| marked(start, end, from, to)),
        })
    }
}

impl Change {
    /// From one sample to the next; a counter that went down began anew.
    fn between(before: &Sample, after: &Sample) -> Self {
        let is_new = after.requests < before.requests;
        let since = |before: f64, after: f64| {
            if is_new {
                after
            } else {
                (after - before).max(0.0)
            }
        };
        let known = |limit: f64| {
            let bucket = before
                .buckets
                .iter()
                .find(|(known, _)| known.total_cmp(&limit).is_eq());
            bucket.map_or(0.0, |(_, count)| *count)
        };
        Self {
            requests: since(before.requests, after.requests),
            errors: since(before.errors, after.errors),
            buckets: after
                .buckets
                .iter()
                .map(|(limit, count)| (*limit, since(known(*limit), *count)))
                .collect(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (limit, count) in &other.buckets {
            match self
                .buckets
                .iter_mut()
                .find(|(known, _)| known.total_cmp(limit).is_eq())
            {
                Some((_, sum)) => *sum += count,
                None => self.buckets.push((*limit, *count)),
            }
        }
    }

    /// The duration in seconds that this share of the requests did not exceed, as Prometheus estimates
    /// it: evenly spread inside a bucket, and never more than the last limit.
    fn quantile(&self, share: f64) -> Option<f64> {
        let mut buckets = self.buckets.clone();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let total = buckets.last()?.1;
        if total <= 0.0 {
            return None;
        }
        let wanted = total * share;
        let (mut below, mut before) = (0.0, 0.0);
        for (limit, count) in buckets {
            if count >= wanted {
                let inside = count - before;
                let part = if inside > 0.0 {
                    (wanted - before) / inside
                } else {
                    1.0
                };
                return Some(if limit.is_finite() {
                    below + (limit - below) * part
                } else {
                    below
                });
            }
            (below, before) = (limit, count);
        }
        Some(below)
    }
}

/// What changed in each of [`BINS`] equal parts of the time.
fn bins(samples: &[Sample], from: u64, to: u64) -> Vec<Change> {
    let mut bins = vec![Change::default(); BINS];
    let pairs = samples.iter().zip(samples.iter().skip(1));
    for (before, after) in pairs.filter(|(_, after)| after.time >= from) {
        let whole = to.saturating_sub(from).max(1);
        let at = u128::from(after.time - from) * (BINS as u128) / u128::from(whole);
        let at = usize::try_from(at).unwrap_or(BINS).min(BINS - 1);
        if let Some(bin) = bins.get_mut(at) {
            bin.add(&Change::between(before, after));
        }
    }
    bins
}

fn columns(bins: &[Change]) -> Vec<Column> {
    let highest = bins.iter().map(|bin| bin.requests).fold(0.0, f64::max);
    if highest <= 0.0 {
        return Vec::new();
    }
    let mut columns = Vec::new();
    for (at, bin) in bins.iter().enumerate() {
        for (value, failed) in [(bin.requests, false), (bin.errors, true)] {
            if value > 0.0 {
                // What is there can be seen.
                let height = (value / highest * HEIGHT).max(1.5);
                columns.push(Column {
                    left: number(place(at)),
                    width: number(WIDTH / as_f64(BINS) - 1.0),
                    top: number(HEIGHT - height),
                    height: number(height),
                    failed,
                });
            }
        }
    }
    columns
}

/// Points of a line; where nothing is known it goes straight on.
fn line(values: &[Option<f64>], longest: f64) -> String {
    if longest <= 0.0 {
        return String::new();
    }
    let known = values.iter().enumerate();
    let points = known.filter_map(|(at, value)| {
        let height = (*value)? / longest * (HEIGHT - 2.0);
        let middle = place(at) + WIDTH / as_f64(BINS) / 2.0;
        Some(format!(
            "{},{}",
            number(middle),
            number(HEIGHT - 1.0 - height)
        ))
    });
    let points: Vec<_> = points.collect();
    // A line from a point to itself is a dot.
    match points.as_slice() {
        [only] => format!("{only} {only}"),
        points => points.join(" "),
    }
}

fn marked(start: u64, end: u64, from: u64, to: u64) -> Column {
    let whole = as_f64_u64(to.saturating_sub(from).max(1));
    let at = |time: u64| as_f64_u64(time.saturating_sub(from)) / whole * WIDTH;
    let (left, right) = (at(start), at(end).min(WIDTH));
    Column {
        left: number(left),
        width: number((right - left).max(2.0)),
        top: "0".to_owned(),
        height: number(HEIGHT),
        failed: false,
    }
}

fn place(bin: usize) -> f64 {
    as_f64(bin) * WIDTH / as_f64(BINS)
}

#[expect(clippy::cast_precision_loss, reason = "a place in a small drawing")]
const fn as_f64(value: usize) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "a place in a small drawing")]
const fn as_f64_u64(value: u64) -> f64 {
    value as f64
}

fn number(value: f64) -> String {
    format!("{value:.1}")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole and positive"
)]
fn count(value: f64) -> String {
    text::count(value.round() as u64)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "durations are positive and far below the limit"
)]
fn duration(seconds: f64) -> String {
    text::duration((seconds * 1e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sample(time: u64, requests: f64, errors: f64, fast: f64) -> Sample {
        Sample {
            time: time * SECOND,
            requests,
            errors,
            buckets: vec![(0.1, fast), (1.0, requests), (f64::INFINITY, requests)],
        }
    }

    #[test]
    fn only_what_happened_in_the_time_counts() {
        let samples = [
            sample(90, 100.0, 3.0, 100.0),
            sample(110, 110.0, 4.0, 109.0),
            // restarted
            sample(150, 6.0, 0.0, 5.0),
        ];
        let strip = Strip::draw("rsync", &samples, (100 * SECOND, 160 * SECOND), None).unwrap();
        assert_eq!(
            (strip.requests.as_str(), strip.errors.as_str()),
            ("16", "1")
        );
        assert!(strip.failing);
        assert_eq!(strip.half, "57 ms", "14 of 16 within 100 ms, evenly spread");
        let columns: Vec<_> = strip
            .columns
            .iter()
            .map(|column| column.left.as_str())
            .collect();
        assert_eq!(columns, ["40.0", "40.0", "200.0"]);
        assert_eq!(strip.half_line.split(' ').count(), 2);
    }

    #[test]
    fn a_service_without_requests_has_no_durations() {
        let idle = [sample(1, 0.0, 0.0, 0.0), sample(9, 0.0, 0.0, 0.0)];
        let strip = Strip::draw("dtc", &idle, (0, 10 * SECOND), Some((2, 3))).unwrap();
        assert_eq!((strip.requests.as_str(), strip.most.as_str()), ("0", "–"));
        assert!(strip.columns.is_empty() && strip.most_line.is_empty());
        assert!(strip.mark.is_some());
        assert!(Strip::draw("dtc", &[], (0, 1), None).is_none());
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let change = Change {
            buckets: vec![(1.0, 50.0), (2.0, 90.0), (f64::INFINITY, 100.0)],
            ..Change::default()
        };
        assert_eq!(change.quantile(0.5), Some(1.0));
        assert_eq!(change.quantile(0.7), Some(1.5));
        assert_eq!(change.quantile(0.99), Some(2.0), "the last limit there is");
        assert_eq!(Change::default().quantile(0.5), None);
    }
}
