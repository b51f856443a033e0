//! Which build this is.

use prometheus::{IntGauge, Opts, Registry};

/// Shown where the build did not say from which revision it was made.
const UNKNOWN: &str = "unknown";

/// Registers `emco_observer_build_info{version,revision}`, which is always 1. An empty `revision` is
/// not known.
///
/// # Errors
/// If `registry` has it already.
pub fn register(
    registry: &Registry,
    version: &str,
    revision: Option<&str>,
) -> prometheus::Result<()> {
    let revision = revision.filter(|revision| !revision.is_empty());
    let options = Opts::new(
        "emco_observer_build_info",
        "Always 1; the labels say which build this is.",
    )
    .const_label("version", version)
    .const_label("revision", revision.unwrap_or(UNKNOWN));
    let info = IntGauge::with_opts(options)?;
    info.set(1);
    registry.register(Box::new(info))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_says_where_it_comes_from() {
        for (revision, shown) in [(Some("abc"), "abc"), (Some(""), UNKNOWN), (None, UNKNOWN)] {
            let registry = Registry::new();
            register(&registry, "1.2.3", revision).unwrap();
            let page = crate::exposition::render(&registry).unwrap();
            let line =
                format!("emco_observer_build_info{{revision=\"{shown}\",version=\"1.2.3\"}} 1");
            assert!(page.contains(&line), "{page}");
        }
    }
}
