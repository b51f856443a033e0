//! Where a peer is, as settings write it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;

use crate::Error;

/// How to speak at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP: written `host:port`, the protocol is the part's own.
    Tcp,
    /// `http://`
    Http,
    /// `https://`
    Https,
}

/// A peer: `host:port`, or `http(s)://host[:port][/path]`. IPv6 addresses stand in brackets.
///
/// A user or password in the text is refused: secrets come from files, endpoints are printed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// How to speak there.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Name or address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port; 80 and 443 where an URL names none.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same at this address.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Self {
        Self {
            host: address.to_string(),
            ..self.clone()
        }
    }

    /// Path without the last slash: empty, or `/some/path`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port` as a resolver and a `Host` header want it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The endpoint's URL with `tail` (`/path?query`) appended to its path.
    pub fn url(&self, tail: &str) -> String {
        format!("{self}{tail}")
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|problem| Error::Endpoint {
            text: without_user(text),
            problem,
        })
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Tcp => "",
            Scheme::Http => "http://",
            Scheme::Https => "https://",
        };
        write!(f, "{scheme}{}{}", self.authority(), self.path)
    }
}

fn parse(text: &str) -> Result<Endpoint, &'static str> {
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("tcp", rest)) => (Scheme::Tcp, rest),
        Some(_) => return Err("the scheme is unknown"),
        None => (Scheme::Tcp, text),
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    if authority.contains('@') {
        return Err("it holds a user or password; these come from files");
    }
    if path.contains(['?', '#']) || authority.contains(['?', '#']) {
        return Err("it has a query or fragment");
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("it holds white space");
    }
    let path = path.trim_end_matches('/');
    if scheme == Scheme::Tcp && !path.is_empty() {
        return Err("a path needs http:// or https://");
    }
    let (host, port) = split_port(authority)?;
    let port = match (port, scheme) {
        (Some(port), _) => port
            .parse()
            .map_err(|_| "the port is no number below 65536")?,
        (None, Scheme::Http) => 80,
        (None, Scheme::Https) => 443,
        (None, Scheme::Tcp) => return Err("the port is missing"),
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    if port == 0 {
        return Err("the port is 0");
    }
    Ok(Endpoint {
        scheme,
        host: host.to_owned(),
        port,
        path: path.to_owned(),
    })
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("there is text behind the bracket"),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err("an IPv6 address stands in brackets"),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

/// The text as it may be printed: whatever stands before an `@` is left out.
fn without_user(text: &str) -> String {
    text.rsplit_once('@')
        .map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Scheme, String, u16, String) {
        let endpoint: Endpoint = text.parse().unwrap();
        (
            endpoint.scheme(),
            endpoint.host().to_owned(),
            endpoint.port(),
            endpoint.path().to_owned(),
        )
    }

    #[test]
    fn reads_what_settings_write() {
        let own = str::to_owned;
        assert_eq!(
            parsed("fluentd:24224"),
            (Scheme::Tcp, own("fluentd"), 24224, own(""))
        );
        assert_eq!(
            parsed("[::1]:24224"),
            (Scheme::Tcp, own("::1"), 24224, own(""))
        );
        assert_eq!(parsed("http://es"), (Scheme::Http, own("es"), 80, own("")));
        assert_eq!(
            parsed("https://es.logging.svc:9200/proxy/es/"),
            (Scheme::Https, own("es.logging.svc"), 9200, own("/proxy/es"))
        );
        assert_eq!(
            parsed("https://[fd00::1]"),
            (Scheme::Https, own("fd00::1"), 443, own(""))
        );
    }

    #[test]
    fn prints_as_an_url_that_reads_the_same() {
        for text in ["fluentd:24224", "http://es:80/x", "https://[fd00::1]:443"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        let endpoint: Endpoint = "http://es/x/".parse().unwrap();
        assert_eq!(endpoint.url("/_bulk?a=b"), "http://es:80/x/_bulk?a=b");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, problem) in [
            ("fluentd", "the port is missing"),
            ("ftp://x:1", "the scheme is unknown"),
            (":24224", "the host is missing"),
            ("x:0", "the port is 0"),
            ("x:99999", "the port is no number"),
            ("::1:24224", "brackets"),
            ("[::1:24224", "a bracket is not closed"),
            ("x:1/path", "a path needs http"),
            ("http://x/?q", "a query"),
            ("http://x y", "white space"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_the_text_is_refused_and_not_repeated() {
        let error = "http://elastic:hunter2@es:9200"
            .parse::<Endpoint>()
            .unwrap_err();
        assert!(error.to_string().contains("come from files"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
