//! What `/metrics` answers: the text of a registry, in the form the asker wants.
//!
//! | form | `Content-Type` | what more |
//! |---|---|---|
//! | [`Format::Text`] | `text/plain; version=0.0.4` | nothing |
//! | [`Format::OpenMetrics`] | `application/openmetrics-text; version=1.0.0` | exemplars and created times of the [`SideTable`], `# EOF` |
//!
//! Both forms name every series alike, bucket bounds included (`le="1.0"`), so that a server that
//! changes from one to the other sees no new series.

use prometheus::Registry;

use crate::Error;
use crate::encoder::Encoder;
use crate::side_table::SideTable;

/// The `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = Format::Text.content_type();

/// In which form metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of the form.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The form for an `Accept` header: `OpenMetrics` where it is named and not liked less than text.
    pub fn negotiate(accept: &str) -> Self {
        let (mut text, mut open) = (0, 0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut known) = (1_000, true);
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                match name.trim() {
                    "q" => quality = thousandths(value.trim()),
                    "version" => known = matches!(value.trim(), "1.0.0" | "0.0.1" | "0.0.4"),
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if known => open = open.max(quality),
                "text/plain" => text = text.max(quality),
                _ => {}
            }
        }
        if open > 0 && open >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// A quality value in thousandths; what cannot be read counts as the least.
fn thousandths(quality: &str) -> u32 {
    let (whole, rest) = quality.split_once('.').unwrap_or((quality, ""));
    let digits = format!("{whole}{rest:0<3}");
    let three = digits.get(..whole.len() + 3).unwrap_or(&digits);
    three.parse().unwrap_or(0)
}

/// Renders every registered metric in Prometheus' text format, collected at this moment.
///
/// # Errors
/// [`Error::Metrics`] if a collector hands out an inconsistent family.
pub fn render(registry: &Registry) -> Result<String, Error> {
    render_as(Format::Text, registry, &SideTable::default())
}

/// Renders every registered metric in that form, collected at this moment.
///
/// # Errors
/// [`Error::Metrics`] if a collector hands out an inconsistent family.
pub fn render_as(format: Format, registry: &Registry, side: &SideTable) -> Result<String, Error> {
    let mut encoder = Encoder::new(format, side);
    for family in registry.gather() {
        encoder.family(&family)?;
    }
    Ok(encoder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::IntCounter;

    #[test]
    fn a_registered_counter_is_shown_with_help_and_type() {
        let registry = Registry::new();
        let counter = IntCounter::new("emco_observer_test_events_total", "Events.").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc_by(3);
        assert_eq!(
            render(&registry).unwrap(),
            "# HELP emco_observer_test_events_total Events.\n\
             # TYPE emco_observer_test_events_total counter\n\
             emco_observer_test_events_total 3\n"
        );
    }

    #[test]
    fn the_asker_gets_what_it_likes_best() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "Application/OpenMetrics-Text; version=0.0.1",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=9.0.0", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=nonsense", Format::Text),
            (
                "application/openmetrics-text;q=0.25,text/plain;q=0.5",
                Format::Text,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,\
                 */*;q=0.2",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }
}
