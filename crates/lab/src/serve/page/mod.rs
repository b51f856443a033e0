//! The web page: lines by person, text, service, level and request; one request in full
//! with its spans; the services' figures over time.
//!
//! Rendered here, usable without scripts; every value goes through the template engine's escaping.

mod lines;
mod request;
mod search;
mod services;
mod strip;
mod text;
mod waterfall;

use askama::Template;
use http::{HeaderValue, StatusCode, header};

pub(crate) use self::request::request;
pub(crate) use self::search::search;
pub(crate) use self::services::services;

use super::http::{Answer, answer};

const STYLE: &str = include_str!("../../../assets/lab.css");
const SCRIPT: &str = include_str!("../../../assets/lab.js");
const ICON: &str = include_str!("../../../assets/icon.svg");
/// Nothing from elsewhere, no script but ours: whatever a log line says, it stays text.
const POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; \
                      img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// A page that only says something.
#[derive(Template)]
#[template(path = "notice.html")]
struct Notice<'a> {
    title: &'a str,
    text: &'a str,
}

/// One of the files the pages refer to.
pub(crate) fn asset(name: &str) -> Answer {
    let (kind, text) = match name {
        "lab.css" => ("text/css; charset=utf-8", STYLE),
        "lab.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return notice(StatusCode::NOT_FOUND, "Not here", "There is no such file."),
    };
    let mut answer = answer(StatusCode::OK, kind, text);
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// An address that means nothing.
pub(crate) fn not_found(path: &str) -> Answer {
    let text = format!("The lab has no page at {path}.");
    notice(StatusCode::NOT_FOUND, "Not here", &text)
}

fn notice(status: StatusCode, title: &str, text: &str) -> Answer {
    render(status, &Notice { title, text })
}

fn unavailable(error: &super::store::Error) -> Answer {
    tracing::error!(%error, "a page could not be made");
    let text = format!("The store did not answer: {error}.");
    notice(StatusCode::SERVICE_UNAVAILABLE, "Not now", &text)
}

fn render(status: StatusCode, page: &impl Template) -> Answer {
    let mut answer = match page.render() {
        Ok(text) => answer(status, "text/html; charset=utf-8", text),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            let text = "the page could not be rendered";
            answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", text)
        }
    };
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
