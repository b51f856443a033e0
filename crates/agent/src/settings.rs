//! The settings of the sidecar: a YAML file, overlaid by the environment.
//!
//! Unknown keys are refused with line and column, so that a typing error never means a default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Deserializer};

/// Everything an operator can say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// EMCO's name of the service (the pod label `app`), e.g. `orchestrator`.
    pub(crate) service: String,
    /// Directory for spool, verdict log and checkpoints.
    pub(crate) state_dir: PathBuf,
    /// What is followed.
    pub(crate) logs: Logs,
    /// Where EMCO's spans come in.
    pub(crate) spans: Spans,
    /// Where metrics and health are shown.
    pub(crate) admin: Admin,
    /// How lines get their person.
    pub(crate) attribution: Attribution,
    /// Where other pods' facts are.
    pub(crate) hub: Hub,
    /// Where lines go.
    pub(crate) lanes: Lanes,
    /// How long a stop may take.
    #[serde(deserialize_with = "duration")]
    pub(crate) shutdown_grace: Duration,
    /// Level of our own log lines.
    pub(crate) log_level: String,
    /// Why nothing is done; set when settings could not be used inside a pod.
    #[serde(skip)]
    pub(crate) degraded: Option<String>,
}

/// Log files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Logs {
    /// The pod's log directory `<namespace>_<pod>_<uid>` with CRI files.
    pub(crate) pod_dir: Option<PathBuf>,
    /// Plain files.
    pub(crate) files: Vec<PathBuf>,
    /// Container whose lines are Envoy's access log.
    pub(crate) proxy_container: String,
    /// Containers never to follow.
    pub(crate) exclude: Vec<String>,
}

/// The span receiver.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Spans {
    /// Address.
    pub(crate) listen: SocketAddr,
    /// Most bytes of spans on disk; the oldest go first.
    pub(crate) disk_bytes_max: u64,
    /// How long spans are kept for a restart.
    #[serde(deserialize_with = "duration")]
    pub(crate) keep: Duration,
}

/// The admin page.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Address.
    pub(crate) listen: SocketAddr,
}

/// The ledger.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attribution {
    /// How long a line waits for late evidence.
    #[serde(deserialize_with = "duration")]
    pub(crate) wait: Duration,
}

/// The hub.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hub {
    /// Its replicas.
    pub(crate) addresses: Vec<String>,
    /// File with the token that proves who we are.
    pub(crate) token_file: Option<PathBuf>,
}

/// The destinations.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lanes {
    /// Fluentd or another receiver of the forward protocol.
    pub(crate) forward: Option<Forward>,
    /// Elasticsearch or OpenSearch.
    pub(crate) elastic: Option<Elastic>,
    /// Jaeger, an OpenTelemetry Collector or another receiver of OTLP over HTTP, for spans.
    pub(crate) otlp: Option<Otlp>,
    /// Most bytes of verdicts on disk before reading stops.
    pub(crate) disk_bytes_max: Option<u64>,
}

/// A forward destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forward {
    /// `host:port`.
    pub(crate) address: String,
    /// Tag of every message.
    pub(crate) tag: Option<String>,
    /// File with the shared key.
    pub(crate) shared_key_file: Option<PathBuf>,
    /// User name, where the receiver wants one.
    pub(crate) username: Option<String>,
    /// File with that user's password.
    pub(crate) password_file: Option<PathBuf>,
    /// Longest wait for an acknowledgement; then everything in flight is sent again.
    #[serde(default, deserialize_with = "some_duration")]
    pub(crate) ack_timeout: Option<Duration>,
    /// TLS, where the receiver wants it.
    pub(crate) tls: Option<net::TlsSettings>,
    /// `none` or `gzip`.
    #[serde(default)]
    pub(crate) compression: out_forward::Compression,
}

/// A bulk destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Elastic {
    /// `http(s)://host:port`.
    pub(crate) url: String,
    /// Prefix of the daily indices of log lines.
    pub(crate) index_prefix: Option<String>,
    /// User name.
    pub(crate) username: Option<String>,
    /// File with that user's password.
    pub(crate) password_file: Option<PathBuf>,
    /// File with an API key.
    pub(crate) api_key_file: Option<PathBuf>,
    /// Longest time of one request; then it is sent again.
    #[serde(default, deserialize_with = "some_duration")]
    pub(crate) request_timeout: Option<Duration>,
    /// TLS details.
    #[serde(default)]
    pub(crate) tls: net::TlsSettings,
    /// `none` or `gzip`.
    #[serde(default)]
    pub(crate) compression: out_elastic::Compression,
}

/// A receiver of traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Otlp {
    /// `http(s)://host[:port][/path]`; `/v1/traces` is appended.
    pub(crate) url: String,
    /// Most spans of one request.
    pub(crate) batch_spans: Option<usize>,
    /// Longest time of one request; then it is sent again.
    #[serde(default, deserialize_with = "some_duration")]
    pub(crate) request_timeout: Option<Duration>,
    /// TLS details.
    #[serde(default)]
    pub(crate) tls: net::TlsSettings,
    /// `none` or `gzip`.
    #[serde(default)]
    pub(crate) compression: out_otlp::Compression,
    /// Which share of traces nobody asked for is exported.
    #[serde(default)]
    pub(crate) noise: out_otlp::NoiseSettings,
}

const LOOPBACK: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl Default for Settings {
    fn default() -> Self {
        Self {
            service: String::new(),
            state_dir: PathBuf::from("/var/lib/emco-observer"),
            logs: Logs::default(),
            spans: Spans::default(),
            admin: Admin::default(),
            attribution: Attribution::default(),
            hub: Hub::default(),
            lanes: Lanes::default(),
            shutdown_grace: Duration::from_secs(20),
            log_level: telemetry::logs::DEFAULT_FILTER.to_owned(),
            degraded: None,
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            pod_dir: None,
            files: Vec::new(),
            proxy_container: "istio-proxy".to_owned(),
            exclude: vec!["istio-init".to_owned(), "emco-observer".to_owned()],
        }
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(LOOPBACK, 9411),
            disk_bytes_max: 128 << 20,
            keep: Duration::from_mins(15),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(LOOPBACK, 9464),
        }
    }
}

impl Default for Attribution {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(2),
        }
    }
}

impl Settings {
    /// Reads the file's text; an empty one gives the defaults.
    pub(crate) fn parse(text: &str, path: Option<&Path>) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).with_context(|| match path {
            Some(path) => format!("settings file {} is not usable", path.display()),
            None => "settings are not usable".to_owned(),
        })
    }

    /// Settings of a sidecar that only says why it does nothing, where the environment wants it said.
    pub(crate) fn degraded(reason: String, variable: impl Fn(&str) -> Option<String>) -> Self {
        let listen = variable("EMCO_OBSERVER_ADMIN_LISTEN").and_then(|text| text.parse().ok());
        Self {
            admin: listen.map_or_else(Admin::default, |listen| Admin { listen }),
            degraded: Some(reason),
            ..Self::default()
        }
    }

    /// Lets variables win over the file.
    pub(crate) fn overlaid(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &str| {
            variable(&format!("EMCO_OBSERVER_{name}")).filter(|value| !value.is_empty())
        };
        let address = |name: &str, into: &mut SocketAddr| -> Result<()> {
            if let Some(value) = get(name) {
                *into = value.parse().with_context(|| {
                    format!("EMCO_OBSERVER_{name} is {value:?}, but has to be an address such as 127.0.0.1:9411")
                })?;
            }
            Ok(())
        };
        address("SPANS_LISTEN", &mut self.spans.listen)?;
        address("ADMIN_LISTEN", &mut self.admin.listen)?;
        if let Some(service) = get("SERVICE") {
            self.service = service;
        }
        if let Some(directory) = get("STATE_DIR") {
            self.state_dir = directory.into();
        }
        if let Some(directory) = get("POD_DIR") {
            self.logs.pod_dir = Some(directory.into());
        }
        if let Some(wait) = get("WAIT") {
            self.attribution.wait = parse_duration(&wait).with_context(|| {
                format!("EMCO_OBSERVER_WAIT is {wait:?}, but has to be a time such as 2s or 500ms")
            })?;
        }
        if let Some(addresses) = get("HUB_ADDRESSES") {
            self.hub.addresses = addresses
                .split(',')
                .map(|one| one.trim().to_owned())
                .collect();
        }
        if let Some(address) = get("FORWARD_ADDRESS") {
            self.lanes.forward = Some(Forward::at(address));
        }
        if let Some(url) = get("ELASTIC_URL") {
            self.lanes.elastic = Some(Elastic::at(url));
        }
        if let Some(url) = get("OTLP_URL") {
            self.lanes.otlp = Some(Otlp::at(url));
        }
        Ok(self)
    }

    /// Checks what only makes sense together.
    pub(crate) fn complete(self) -> Result<Self> {
        if self.service.is_empty() {
            bail!(
                "no service: set `service` (EMCO's name of it, e.g. orchestrator) or EMCO_OBSERVER_SERVICE"
            );
        }
        if self.logs.pod_dir.is_none() && self.logs.files.is_empty() {
            bail!("nothing to follow: set `logs.pod_dir` or `logs.files`");
        }
        let lanes = &self.lanes;
        if lanes.forward.is_none() && lanes.elastic.is_none() && lanes.otlp.is_none() {
            bail!(
                "nowhere to deliver to: set `lanes.forward`, `lanes.elastic` or, for spans, `lanes.otlp`"
            );
        }
        Ok(self)
    }
}

impl Forward {
    fn at(address: String) -> Self {
        Self {
            address,
            tag: None,
            shared_key_file: None,
            username: None,
            password_file: None,
            ack_timeout: None,
            tls: None,
            compression: out_forward::Compression::default(),
        }
    }
}

impl Elastic {
    fn at(url: String) -> Self {
        Self {
            url,
            index_prefix: None,
            username: None,
            password_file: None,
            api_key_file: None,
            request_timeout: None,
            tls: net::TlsSettings::default(),
            compression: out_elastic::Compression::default(),
        }
    }
}

impl Otlp {
    fn at(url: String) -> Self {
        Self {
            url,
            batch_spans: None,
            request_timeout: None,
            tls: net::TlsSettings::default(),
            compression: out_otlp::Compression::default(),
            noise: out_otlp::NoiseSettings::default(),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?} is no time; write e.g. 2s, 500ms, 10m or 1h"
        ))
    })
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// `<whole number><unit>` with the units `ms`, `s`, `m` and `h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(split)?;
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "service: clm\nlogs: {pod_dir: /var/log/pods/a_b_c}\nattribution: {wait: 500ms}\nlanes: {forward: {address: \"127.0.0.1:24224\"}}\n";

    #[test]
    fn a_file_is_read_and_variables_win() {
        let settings = Settings::parse(GOOD, None).unwrap();
        assert_eq!(settings.attribution.wait, Duration::from_millis(500));
        let variables = |name: &str| (name == "EMCO_OBSERVER_SERVICE").then(|| "dcm".to_owned());
        let settings = settings.overlaid(variables).unwrap().complete().unwrap();
        assert_eq!(settings.service, "dcm");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = Settings::parse("service: clm\nlogs:\n  pod_dri: /x\n", None).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("pod_dri") && text.contains('3'), "{text}");
    }

    #[test]
    fn what_is_missing_is_said() {
        for (text, missing) in [
            ("", "service"),
            ("service: clm", "logs.pod_dir"),
            ("service: clm\nlogs: {files: [/a]}", "lanes.forward"),
        ] {
            let error = Settings::parse(text, None).unwrap().complete().unwrap_err();
            assert!(error.to_string().contains(missing), "{error}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("10m"), Some(Duration::from_mins(10)));
        for bad in ["", "5", "s", "1.5s", "5 days"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
