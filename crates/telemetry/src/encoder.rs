//! Metric families as text.
//!
//! | line | text format | `OpenMetrics` |
//! |---|---|---|
//! | `# HELP`, `# TYPE` of a counter | its whole name | its name without `_total` |
//! | a counter without `_total` | `counter` | `unknown` |
//! | `_created`, `# {trace_id="…"} value time` | never | where the side table has them |
//! | `# EOF` | never | last |

use std::fmt::Write as _;

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary};

use crate::exposition::Format;
use crate::side_table::{Exemplar, Extras, SideTable};

/// Room for a page of usual size.
const PAGE_BYTES: usize = 32 * 1024;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes families one after another.
pub(crate) struct Encoder<'a> {
    format: Format,
    side: &'a SideTable,
    page: String,
    /// The labels of the metric at hand, as they stand in each of its samples.
    labels: String,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(format: Format, side: &'a SideTable) -> Self {
        Self {
            format,
            side,
            page: String::with_capacity(PAGE_BYTES),
            labels: String::new(),
        }
    }

    /// Adds a family; one without series is left out.
    ///
    /// # Errors
    /// If the family has no name or no type.
    pub(crate) fn family(&mut self, family: &MetricFamily) -> prometheus::Result<()> {
        if family.get_metric().is_empty() {
            return Ok(());
        }
        if family.name().is_empty() || family.get_field_type() == MetricType::UNTYPED {
            let what = format!(
                "the family of metrics {:?} has no name or no type",
                family.name()
            );
            return Err(prometheus::Error::Msg(what));
        }
        let (name, kind) = self.title(family);
        self.line_of_help(name, family.help());
        self.push(&["# TYPE ", name, " ", kind, "\n"]);
        let side = self.side;
        side.family(family.name(), |series| {
            for metric in family.get_metric() {
                let extras = match self.format {
                    Format::Text => None,
                    Format::OpenMetrics => {
                        series.find(metric.get_label().iter().map(LabelPair::value))
                    }
                };
                self.metric(name, family, metric, extras);
            }
        });
        Ok(())
    }

    /// The whole page.
    pub(crate) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.page.push_str("# EOF\n");
        }
        self.page
    }

    /// The name and type that stand in front of the samples.
    fn title<'f>(&self, family: &'f MetricFamily) -> (&'f str, &'static str) {
        let name = family.name();
        let open = self.format == Format::OpenMetrics;
        match family.get_field_type() {
            MetricType::COUNTER if open => match name.strip_suffix("_total") {
                Some(short) => (short, "counter"),
                None => (name, "unknown"),
            },
            MetricType::COUNTER => (name, "counter"),
            MetricType::GAUGE => (name, "gauge"),
            MetricType::HISTOGRAM => (name, "histogram"),
            MetricType::SUMMARY => (name, "summary"),
            MetricType::UNTYPED => (name, "unknown"),
        }
    }

    fn line_of_help(&mut self, name: &str, help: &str) {
        if help.is_empty() {
            return;
        }
        self.push(&["# HELP ", name, " "]);
        escape(&mut self.page, help, self.format == Format::OpenMetrics);
        self.page.push('\n');
    }

    fn metric(
        &mut self,
        title: &str,
        family: &MetricFamily,
        metric: &Metric,
        extras: Option<&Extras>,
    ) {
        let name = family.name();
        self.label(metric.get_label());
        match family.get_field_type() {
            MetricType::COUNTER => {
                let exemplar = extras.and_then(|extras| extras.exemplar(0));
                self.sample(&[name], None, metric.get_counter().get_value());
                self.end(exemplar);
                self.created(title, extras);
            }
            MetricType::GAUGE => {
                self.sample(&[name], None, metric.get_gauge().get_value());
                self.end(None);
            }
            MetricType::UNTYPED => {}
            MetricType::HISTOGRAM => {
                self.histogram(name, metric.get_histogram(), extras);
                self.created(title, extras);
            }
            MetricType::SUMMARY => self.summary(name, metric.get_summary()),
        }
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram, extras: Option<&Extras>) {
        let bucket = [name, "_bucket"];
        let count = as_float(histogram.get_sample_count());
        let mut last = f64::NEG_INFINITY;
        for (place, counted) in histogram.get_bucket().iter().enumerate() {
            last = counted.upper_bound();
            let exemplar = extras.and_then(|extras| extras.exemplar(place));
            self.sample(
                &bucket,
                Some(("le", last)),
                as_float(counted.cumulative_count()),
            );
            self.end(exemplar);
        }
        if last < f64::INFINITY {
            let place = histogram.get_bucket().len();
            let exemplar = extras.and_then(|extras| extras.exemplar(place));
            self.sample(&bucket, Some(("le", f64::INFINITY)), count);
            self.end(exemplar);
        }
        self.sample(&[name, "_sum"], None, histogram.get_sample_sum());
        self.end(None);
        self.sample(&[name, "_count"], None, count);
        self.end(None);
    }

    fn summary(&mut self, name: &str, summary: &Summary) {
        for quantile in summary.get_quantile() {
            let extra = Some(("quantile", quantile.quantile()));
            self.sample(&[name], extra, quantile.value());
            self.end(None);
        }
        self.sample(&[name, "_sum"], None, summary.sample_sum());
        self.end(None);
        self.sample(&[name, "_count"], None, as_float(summary.sample_count()));
        self.end(None);
    }

    /// The time at which a series began to count.
    fn created(&mut self, title: &str, extras: Option<&Extras>) {
        if let Some(extras) = extras {
            self.sample(
                &[title, "_created"],
                None,
                to_millis(extras.created_seconds()),
            );
            self.end(None);
        }
    }

    /// Writes down the labels of a metric.
    fn label(&mut self, labels: &[LabelPair]) {
        self.labels.clear();
        for label in labels {
            if !self.labels.is_empty() {
                self.labels.push(',');
            }
            self.labels.push_str(label.name());
            self.labels.push_str("=\"");
            escape(&mut self.labels, label.value(), true);
            self.labels.push('"');
        }
    }

    /// A sample up to its value.
    fn sample(&mut self, name: &[&str], bound: Option<(&str, f64)>, value: f64) {
        self.push(name);
        if !self.labels.is_empty() || bound.is_some() {
            self.page.push('{');
            self.page.push_str(&self.labels);
            if let Some((label, bound)) = bound {
                let separator = if self.labels.is_empty() { "" } else { "," };
                self.push(&[separator, label, "=\""]);
                bound_text(&mut self.page, bound);
                self.page.push('"');
            }
            self.page.push('}');
        }
        self.page.push(' ');
        number(&mut self.page, value);
    }

    /// The end of a sample's line.
    fn end(&mut self, exemplar: Option<Exemplar>) {
        if let Some(exemplar) = exemplar {
            self.page.push_str(" # {trace_id=\"");
            for byte in exemplar.trace_id {
                for digit in [byte >> 4, byte & 15] {
                    let digit = HEX.get(usize::from(digit)).copied().unwrap_or(b'0');
                    self.page.push(char::from(digit));
                }
            }
            self.page.push_str("\"} ");
            number(&mut self.page, exemplar.value);
            self.page.push(' ');
            number(&mut self.page, to_millis(exemplar.at_seconds));
        }
        self.page.push('\n');
    }

    fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.page.push_str(part);
        }
    }
}

/// A time to the millisecond.
fn to_millis(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Appends a number as both formats write it.
fn number(page: &mut String, value: f64) {
    let infinite = match value {
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    };
    match infinite {
        Some(text) => page.push_str(text),
        // Rust writes not-a-number as the formats do; writing into a text cannot fail
        None => match whole(value) {
            Some(whole) => drop(write!(page, "{whole}")),
            None => drop(write!(page, "{value}")),
        },
    }
}

/// The number as an integer if it is one: those are written in a fraction of the time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "what is not exactly the same is no integer"
)]
fn whole(value: f64) -> Option<u64> {
    let whole = value as u64;
    (as_float(whole) == value && whole < 1 << 53 && value.is_sign_positive()).then_some(whole)
}

/// Appends a bound in its canonical form: whole numbers have one decimal.
fn bound_text(page: &mut String, bound: f64) {
    let before = page.len();
    number(page, bound);
    let written = page.get(before..).unwrap_or_default();
    if written
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        page.push_str(".0");
    }
}

fn escape(page: &mut String, text: &str, quotes: bool) {
    let special = |byte: u8| matches!(byte, b'\\' | b'\n') || (quotes && byte == b'"');
    if !text.bytes().any(special) {
        page.push_str(text);
        return;
    }
    for character in text.chars() {
        match character {
            '\\' => page.push_str("\\\\"),
            '\n' => page.push_str("\\n"),
            '"' if quotes => page.push_str("\\\""),
            other => page.push(other),
        }
    }
}

/// Counts beyond 2^53 are rounded; they would have to count for centuries.
#[expect(
    clippy::cast_precision_loss,
    reason = "the formats know only floating point numbers"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{render, render_as};
    use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

    fn registry() -> (Registry, SideTable) {
        let (registry, side) = (Registry::new(), SideTable::default());
        let requests = IntCounterVec::new(
            Opts::new("test_requests_total", "Says \"how many\",\nby \\ route."),
            &["route", "method"],
        )
        .unwrap();
        registry.register(Box::new(requests.clone())).unwrap();
        let options = HistogramOpts::new("test_seconds", "Time.").buckets(vec![0.5, 1.0]);
        let seconds = HistogramVec::new(options, &["route"]).unwrap();
        registry.register(Box::new(seconds.clone())).unwrap();
        let level = Gauge::new("test_level", "Level.").unwrap();
        registry.register(Box::new(level.clone())).unwrap();
        level.set(-0.25);
        let told = IntGauge::new("test_told", "Told.").unwrap();
        registry.register(Box::new(told)).unwrap();
        requests.with_label_values(&["/a\"b\\\n", "GET"]).inc();
        for value in [0.25, 0.75, 3.0] {
            seconds.with_label_values(&["/a"]).observe(value);
        }
        // label values stand in the order of the names: method, route
        let created = side.series("test_requests_total", &["GET", "/a\"b\\\n"], 12.5);
        let exemplar = |value| Exemplar {
            trace_id: [0xa1; 16],
            value,
            at_seconds: 99.125,
        };
        created.put(0, exemplar(1.0));
        let histogram = side.series("test_seconds", &["/a"], 13.0);
        histogram.put(1, exemplar(0.75));
        histogram.put(2, exemplar(3.0));
        (registry, side)
    }

    #[test]
    fn open_metrics_has_exemplars_and_created_times() {
        let (registry, side) = registry();
        let trace = "a1".repeat(16);
        let page = render_as(Format::OpenMetrics, &registry, &side).unwrap();
        let expected = format!(
            "# HELP test_level Level.\n\
             # TYPE test_level gauge\n\
             test_level -0.25\n\
             # HELP test_requests Says \\\"how many\\\",\\nby \\\\ route.\n\
             # TYPE test_requests counter\n\
             test_requests_total{{method=\"GET\",route=\"/a\\\"b\\\\\\n\"}} 1 # {{trace_id=\"{trace}\"}} 1 99.125\n\
             test_requests_created{{method=\"GET\",route=\"/a\\\"b\\\\\\n\"}} 12.5\n\
             # HELP test_seconds Time.\n\
             # TYPE test_seconds histogram\n\
             test_seconds_bucket{{route=\"/a\",le=\"0.5\"}} 1\n\
             test_seconds_bucket{{route=\"/a\",le=\"1.0\"}} 2 # {{trace_id=\"{trace}\"}} 0.75 99.125\n\
             test_seconds_bucket{{route=\"/a\",le=\"+Inf\"}} 3 # {{trace_id=\"{trace}\"}} 3 99.125\n\
             test_seconds_sum{{route=\"/a\"}} 4\n\
             test_seconds_count{{route=\"/a\"}} 3\n\
             test_seconds_created{{route=\"/a\"}} 13\n\
             # HELP test_told Told.\n\
             # TYPE test_told gauge\n\
             test_told 0\n\
             # EOF\n"
        );
        assert_eq!(page, expected);
    }

    #[test]
    fn the_text_format_has_the_same_series_and_nothing_else() {
        let (registry, side) = registry();
        let samples = |page: &str| -> Vec<String> {
            let lines = page.lines().filter(|line| !line.starts_with('#'));
            let plain = |line: &str| line.split(" # ").next().unwrap_or_default().to_owned();
            lines
                .map(plain)
                .filter(|line| !line.contains("_created"))
                .collect()
        };
        let open = render_as(Format::OpenMetrics, &registry, &side).unwrap();
        let text = render(&registry).unwrap();
        assert_eq!(samples(&open), samples(&text));
        assert!(
            text.contains("# TYPE test_requests_total counter\n"),
            "{text}"
        );
        assert!(
            !text.contains("trace_id") && !text.contains("EOF"),
            "{text}"
        );
    }

    #[test]
    fn numbers_are_written_as_the_formats_know_them() {
        let written = |value| {
            let mut page = String::new();
            number(&mut page, value);
            page
        };
        for (value, text) in [
            (0.0, "0"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (1_795_406_976.25, "1795406976.25"),
            (12_345_678_901.0, "12345678901"),
            (-3.0, "-3"),
            (1e300, &format!("1{}", "0".repeat(300))),
        ] {
            assert_eq!(written(value), text);
        }
    }
}
