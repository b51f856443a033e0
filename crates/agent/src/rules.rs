//! What single texts in the settings have to look like.
#![expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde hands its context over by reference"
)]

use std::path::Path;

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

/// A text that says something.
pub(crate) fn filled(text: &str, _: &()) -> garde::Result {
    let says = !text.trim().is_empty();
    says.then_some(())
        .ok_or_else(|| garde::Error::new("is empty; say something, or leave it out"))
}

/// A directory of our own.
pub(crate) fn directory(path: &Path, _: &()) -> garde::Result {
    let says = !path.as_os_str().is_empty();
    says.then_some(()).ok_or_else(|| {
        garde::Error::new("is empty; name a directory, such as /var/lib/emco-observer")
    })
}

/// The whole path of one file, which may come later.
pub(crate) fn log_file(path: &Path, _: &()) -> garde::Result {
    let text = path.to_string_lossy();
    if text.is_empty() {
        return Err(garde::Error::new(
            "is empty; write the whole path of a log file, such as /var/log/emco/clm.log",
        ));
    }
    if let Some(sign) = text.chars().find(|sign| matches!(sign, '*' | '?' | '[')) {
        return Err(garde::Error::new(format_args!(
            "has a {sign}, but patterns are not expanded: name each file; its rotated siblings are found without being named"
        )));
    }
    if !path.is_absolute() {
        return Err(garde::Error::new(format_args!(
            "is {text:?}, but has to be a whole path that begins with /, such as /var/log/emco/clm.log"
        )));
    }
    if path.is_dir() {
        return Err(garde::Error::new(
            "is a directory; name the files in it, or set `logs.pod_dir` if it is a pod's log directory",
        ));
    }
    Ok(())
}
