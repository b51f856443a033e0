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

    /// The sum of all series of `name` whose labels contain `label` (`work="lines"`); 0 if there are
    /// none.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        self.text
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix(name)?;
                let (labels, value) = match rest.strip_prefix('{') {
                    Some(rest) => rest.rsplit_once("} ")?,
                    None => ("", rest.strip_prefix(' ')?),
                };
                labels
                    .contains(label)
                    .then(|| value.trim().parse::<f64>().ok())?
            })
            .sum()
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
}
