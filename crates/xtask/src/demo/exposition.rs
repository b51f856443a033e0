//! Reads what our programs show on `/metrics`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::http;

const BOUND: Duration = Duration::from_secs(5);

/// One reading of a page.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    text: String,
}

impl Reading {
    /// Asks the program at `address`.
    pub(crate) fn of(address: SocketAddr) -> Result<Self> {
        let text = http::get_text(address, "/metrics", BOUND)?;
        Ok(Self { text })
    }

    /// A page that was read elsewhere.
    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
        }
    }

    /// The sum of all series of `name` whose labels contain `label` (`work="lines"`); 0 if there are
    /// none.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let series = self.series(name);
        series
            .filter(|(labels, _)| labels.contains(label))
            .map(|(_, value)| value)
            .sum()
    }

    /// The values that `label` has in the series of `name`, whatever they count.
    pub(crate) fn values(&self, name: &str, label: &str) -> Vec<&str> {
        let key = format!("{label}=\"");
        let series = self.series(name);
        let values = series.filter_map(|(labels, _)| {
            let (_, value) = labels.split_once(&key)?;
            value.split('"').next()
        });
        values.collect()
    }

    /// Labels and value of each series of `name`.
    fn series(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.trim().parse().ok()?))
        })
    }

    /// The same for counts of things.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are whole and positive"
    )]
    pub(crate) fn count(&self, name: &str, label: &str) -> u64 {
        self.sum(name, label) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_added_by_name_and_label() {
        let reading = Reading {
            text:
                "# TYPE a_total counter\na_total{work=\"lines\"} 1.5\na_total{work=\"spans\"} 2\n\
                   a_total_seconds 9\nb 7\n"
                    .to_owned(),
        };
        assert_eq!(reading.count("a_total", ""), 3);
        assert!((reading.sum("a_total", "work=\"lines\"") - 1.5).abs() < 1e-9);
        assert_eq!(reading.count("b", ""), 7);
        assert_eq!(reading.count("c", ""), 0);
    }

    #[test]
    fn values_of_a_label_are_listed_also_where_nothing_was_counted() {
        let reading = Reading {
            text: "a_total{rule=\"x\"} 0\na_total{of=\"b\",rule=\"y\"} 2\nb_total{rule=\"z\"} 1\n"
                .to_owned(),
        };
        assert_eq!(reading.values("a_total", "rule"), ["x", "y"]);
        assert_eq!(reading.values("a_total", "of"), ["b"]);
        assert_eq!(reading.values("c_total", "rule"), [""; 0]);
    }
}
