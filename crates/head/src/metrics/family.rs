//! A family of metrics whose numbers are kept with the verdict log.
//!
//! Each series of the family is a series of the log's tally, named `key`, tab, label values. A counter
//! has one cell; a histogram has one for each bucket (not cumulative, the last one is for what is
//! beyond all bounds) and one for the sum in nanoseconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::time::UnixNanos;
use pipeline::tally::{Cell, Seen, Tally, Totals};
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use telemetry::side_table::{Exemplar, Extras, SideTable};

/// What stands in front of the other labels of every series.
const SERVICE: &str = "service";

/// What a family is.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Begins the names of its series in the tally.
    pub(crate) key: &'static str,
    /// Its name on the page.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// Its labels but `service`, in the order of their values.
    pub(crate) labels: &'static [&'static str],
    /// Upper bounds of the buckets in seconds; none for a counter.
    pub(crate) bounds: &'static [f64],
}

/// The family; clones are handles to the same.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    spec: &'static Spec,
    service: Arc<str>,
    side: SideTable,
    totals: Totals,
    series: Arc<Mutex<Vec<Shown>>>,
    desc: Arc<Desc>,
}

/// A series that is shown.
#[derive(Debug)]
struct Shown {
    /// In the order of their names.
    labels: Vec<LabelPair>,
    first: Cell,
}

/// Where a series is counted.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    first: Cell,
    bounds: &'static [f64],
    extras: Extras,
}

impl Family {
    /// The family for `service`, shown on the page of `registry`.
    pub(crate) fn registered(
        registry: &Registry,
        spec: &'static Spec,
        service: &str,
        side: &SideTable,
        tally: &Tally,
    ) -> prometheus::Result<Self> {
        let family = Self::new(spec, service, side, tally)?;
        registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    /// The family for `service`, with the series that `tally` knows from before a restart.
    pub(crate) fn new(
        spec: &'static Spec,
        service: &str,
        side: &SideTable,
        tally: &Tally,
    ) -> prometheus::Result<Self> {
        let names = spec.labels.iter().chain([&SERVICE]);
        let desc = Desc::new(
            spec.name.to_owned(),
            spec.help.to_owned(),
            names.map(|name| (*name).to_owned()).collect(),
            std::collections::HashMap::new(),
        )?;
        let family = Self {
            spec,
            service: service.into(),
            side: side.clone(),
            totals: tally.totals(),
            series: Arc::default(),
            desc: Arc::new(desc),
        };
        for known in tally.all() {
            let mut parts = known.name.split('\t');
            let values: Vec<&str> = match parts.next() {
                Some(key) if key == spec.key => parts.collect(),
                _ => continue,
            };
            if values.len() == spec.labels.len() && known.cells == spec.cells() {
                family.show(&values, known.first, known.created);
            }
        }
        Ok(family)
    }

    /// The series with these values of the labels; `None` if the tally has no room for it. Looked up
    /// by text: callers keep the handle.
    pub(crate) fn series(
        &self,
        tally: &mut Tally,
        values: &[&str],
        now: UnixNanos,
    ) -> Option<Handle> {
        let name = [&[self.spec.key], values].concat().join("\t");
        let series = tally.series(&name, self.spec.cells(), now)?;
        let (first, created) = (series.first, series.created);
        Some(self.show(values, first, created))
    }

    fn show(&self, values: &[&str], first: Cell, created: UnixNanos) -> Handle {
        let named = self.spec.labels.iter().copied().zip(values.iter().copied());
        let mut named: Vec<(&str, &str)> = named.chain([(SERVICE, &*self.service)]).collect();
        named.sort_unstable();
        let label = |(name, value): &(&str, &str)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value((*value).to_owned());
            label
        };
        let mut series = self.lock();
        if !series.iter().any(|shown| shown.first == first) {
            series.push(Shown {
                labels: named.iter().map(label).collect(),
                first,
            });
        }
        drop(series);
        let values: Vec<&str> = named.iter().map(|(_, value)| *value).collect();
        let created = seconds(created.0);
        Handle {
            first,
            bounds: self.spec.bounds,
            extras: self.side.series(self.spec.name, &values, created),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spec {
    fn cells(&self) -> u32 {
        match u32::try_from(self.bounds.len()) {
            Ok(0) | Err(_) => 1,
            Ok(bounds) => bounds + 2,
        }
    }

    fn metric(&self, shown: &Shown, seen: Seen<'_>) -> Metric {
        let mut metric = Metric::from_label(shown.labels.clone());
        if self.bounds.is_empty() {
            let mut counter = Counter::default();
            counter.set_value(as_float(seen.value(shown.first)));
            metric.set_counter(counter);
        } else {
            metric.set_histogram(self.histogram(shown.first, seen));
        }
        metric
    }

    fn histogram(&self, first: Cell, seen: Seen<'_>) -> Histogram {
        let mut cumulative = 0;
        let mut cells = 0..;
        let mut next = || seen.value(first.plus(cells.next().unwrap_or(u32::MAX)));
        let buckets = self.bounds.iter().map(|bound| {
            cumulative += next();
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(cumulative + next());
        histogram.set_sample_sum(seconds(next()));
        histogram
    }
}

impl Handle {
    /// The number of a counter.
    pub(crate) const fn cell(&self) -> Cell {
        self.first
    }

    /// Counts one in a histogram.
    pub(crate) fn observe(&self, tally: &mut Tally, nanos: u64) {
        let sum = u32::try_from(self.bounds.len()).unwrap_or(u32::MAX) + 1;
        tally.add(self.first.plus(self.bucket(nanos)), 1);
        tally.add(self.first.plus(sum), nanos);
    }

    /// Counts many in a histogram: how many in each bucket, the last for what is beyond all bounds.
    pub(crate) fn observe_all(&self, tally: &mut Tally, buckets: &[u64], sum: u64) {
        for (place, count) in (0..).zip(buckets) {
            if *count > 0 {
                tally.add(self.first.plus(place), *count);
            }
        }
        let place = u32::try_from(self.bounds.len()).unwrap_or(u32::MAX) + 1;
        tally.add(self.first.plus(place), sum);
    }

    /// Names a request that was counted: in the bucket of `nanos`, if it is a histogram.
    pub(crate) fn exemplify(&self, trace_id: [u8; 16], nanos: u64, at: UnixNanos) {
        let (place, value) = match self.bounds {
            [] => (0, 1.0),
            _ => (self.bucket(nanos), seconds(nanos)),
        };
        let exemplar = Exemplar {
            trace_id,
            value,
            at_seconds: seconds(at.0 / 1_000_000 * 1_000_000),
        };
        self.extras.put(place as usize, exemplar);
    }

    fn bucket(&self, nanos: u64) -> u32 {
        let value = seconds(nanos);
        let beyond = self.bounds.iter().position(|bound| value <= *bound);
        u32::try_from(beyond.unwrap_or(self.bounds.len())).unwrap_or(u32::MAX)
    }
}

impl Collector for Family {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.spec.name.to_owned());
        family.set_help(self.spec.help.to_owned());
        family.set_field_type(if self.spec.bounds.is_empty() {
            MetricType::COUNTER
        } else {
            MetricType::HISTOGRAM
        });
        let series = self.lock();
        let metrics = self.totals.see(|seen| {
            let shown = series.iter();
            shown.map(|shown| self.spec.metric(shown, seen)).collect()
        });
        family.set_metric(metrics);
        vec![family]
    }
}

fn seconds(nanos: u64) -> f64 {
    as_float(nanos) / 1e9
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the page knows only floating point numbers"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}
