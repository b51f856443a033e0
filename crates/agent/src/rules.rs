//! What single texts in the settings have to look like.
#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde hands its context over by reference"
)]

use net::{Endpoint, Scheme};

/// Levels of our own log.
pub(crate) fn log_filter(filter: &str, _: &()) -> garde::Result {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // a bare word is a level: as the name of a module it would be silently taken for one
    let mut parts = filter.split(',').map(str::trim);
    let levels = parts.all(|part| part.contains('=') || LEVELS.contains(&part));
    let understood = levels && telemetry::logs::Logs::check(filter).is_ok();
    understood.then_some(()).ok_or_else(|| {
        garde::Error::new(format_args!(
            "is {filter:?}, but has to be off, error, warn, info, debug or trace, or a list such as info,hub=debug"
        ))
    })
}

fn parse_endpoint(text: &str) -> Result<Endpoint, garde::Error> {
    text.parse::<Endpoint>()
        .map_err(|error| garde::Error::new(format_args!("is no address: {error}")))
}

/// `host:port` or an URL.
pub(crate) fn endpoint(text: &str, _: &()) -> garde::Result {
    parse_endpoint(text).map(drop)
}

/// `host:port`.
pub(crate) fn forward_address(text: &str, _: &()) -> garde::Result {
    match parse_endpoint(text)?.scheme() {
        Scheme::Tcp => Ok(()),
        Scheme::Http | Scheme::Https => Err(garde::Error::new(
            "is an URL, but has to be host:port, without http://",
        )),
    }
}

/// An URL.
pub(crate) fn http_url(text: &str, _: &()) -> garde::Result {
    match parse_endpoint(text)?.scheme() {
        Scheme::Http | Scheme::Https => Ok(()),
        Scheme::Tcp => Err(garde::Error::new(
            "has to begin with http:// or https://, such as http://elasticsearch:9200",
        )),
    }
}
