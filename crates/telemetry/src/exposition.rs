//! The text form of `/metrics`.

use prometheus::{Registry, TextEncoder};

use crate::Error;

/// The `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Renders every registered metric in Prometheus' text format, collected at this moment.
///
/// # Errors
/// [`Error::Metrics`] if a collector hands out an inconsistent family.
pub fn render(registry: &Registry) -> Result<String, Error> {
    let mut text = String::with_capacity(16 * 1024);
    TextEncoder::new().encode_utf8(&registry.gather(), &mut text)?;
    Ok(text)
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
}
