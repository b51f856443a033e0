//! Values of labels that are known beforehand.

/// The methods that are named; any other is `other`.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
const OTHER: &str = "other";

/// Whether an answer was good, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StatusClass {
    /// 1xx to 5xx.
    Http(u8),
    /// A gRPC call that succeeded.
    Ok,
    /// A gRPC call that failed.
    Error,
    /// Nobody said the status, or it is none of HTTP's.
    Unknown,
}

impl StatusClass {
    /// Of an HTTP status; 0 if none is known.
    pub(crate) fn http(status: u16) -> Self {
        match u8::try_from(status / 100) {
            Ok(class @ 1..=5) => Self::Http(class),
            _ => Self::Unknown,
        }
    }

    /// Of a gRPC call.
    pub(crate) fn grpc(failed: bool) -> Self {
        if failed { Self::Error } else { Self::Ok }
    }

    /// The value of the label `status_class`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http(1) => "1xx",
            Self::Http(2) => "2xx",
            Self::Http(3) => "3xx",
            Self::Http(4) => "4xx",
            Self::Http(5) => "5xx",
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Http(_) | Self::Unknown => "unknown",
        }
    }
}

/// The value of the label `method` for an HTTP method in any case.
pub(crate) fn method(method: &str) -> &'static str {
    let mut known = METHODS.into_iter();
    let known = known.find(|known| known.eq_ignore_ascii_case(method));
    known.unwrap_or(OTHER)
}

/// The method that gRPC uses.
pub(crate) const GRPC_METHOD: &str = "POST";
/// The route and action of what no route serves.
pub(crate) const UNMATCHED: &str = "unmatched";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_few_whatever_callers_send() {
        assert_eq!((method("post"), method("BREW")), ("POST", OTHER));
        for (status, class) in [
            (0, "unknown"),
            (99, "unknown"),
            (101, "1xx"),
            (204, "2xx"),
            (404, "4xx"),
            (599, "5xx"),
            (600, "unknown"),
            (u16::MAX, "unknown"),
        ] {
            assert_eq!(StatusClass::http(status).name(), class, "{status}");
        }
        assert_eq!(StatusClass::grpc(true).name(), "error");
    }
}
