//! The settings of the sidecar, as types: what an operator can say, the defaults and the limits.
//!
//! `docs/configuration.md` and the JSON schema are made from this file: the comment of a field is
//! its description there. A text in backquotes behind `e.g.` is its example. [`crate::configuration`]
//! reads the file; unknown keys are refused, so that a typing error never means a default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use garde::Validate;
use serde::Deserialize;

use crate::rules::{directory, endpoint, filled, forward_address, http_url, log_file, log_filter};
use crate::units::Time;

/// Everything an operator can say.
#[derive(Clone, Debug, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// EMCO's name of the service (the pod label `app`). Required. E.g. `orchestrator`.
    #[garde(skip)]
    pub(crate) service: String,
    /// Directory for spool, verdict log and checkpoints. No two sidecars share one.
    #[garde(custom(directory))]
    pub(crate) state_dir: PathBuf,
    /// What is followed.
    #[garde(dive)]
    pub(crate) logs: Logs,
    /// Where EMCO's spans come in.
    #[garde(dive)]
    pub(crate) spans: Spans,
    /// Where metrics and health are shown.
    #[garde(skip)]
    pub(crate) admin: Admin,
    /// How lines get their person.
    #[garde(dive)]
    pub(crate) attribution: Attribution,
    /// Where other pods' facts are.
    #[garde(dive)]
    pub(crate) hub: Hub,
    /// Where lines go. At least one destination is required.
    #[garde(dive)]
    pub(crate) lanes: Lanes,
    /// How long a stop may take; should stay below the pod's `terminationGracePeriodSeconds`. Lines
    /// that still wait for evidence when half of it is over go without a person.
    #[garde(range(min = Time::seconds(1), max = Time::minutes(10)))]
    pub(crate) shutdown_grace: Time,
    /// Levels of our own log: one for all, others by module. E.g. `info,hub=debug`.
    #[garde(custom(log_filter))]
    pub(crate) log_level: String,
}

/// Log files.
#[derive(Clone, Debug, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Logs {
    /// The pod's log directory `<namespace>_<pod>_<uid>` with CRI files; in a pod it follows from
    /// `POD_NAMESPACE`, `POD_NAME` and `POD_UID` unless `files` are named. E.g.
    /// `/var/log/pods/emco_clm-0_5c3e`.
    #[garde(skip)]
    pub(crate) pod_dir: Option<PathBuf>,
    /// Plain files, each with its rotated siblings; whole paths, no patterns. E.g.
    /// `/var/log/emco/clm.log`.
    #[garde(inner(custom(log_file)))]
    pub(crate) files: Vec<PathBuf>,
    /// Container whose lines are Envoy's access log.
    #[garde(skip)]
    pub(crate) proxy_container: String,
    /// Containers never to follow. Our own have to be among them.
    #[garde(skip)]
    pub(crate) exclude: Vec<String>,
}

/// The span receiver.
#[derive(Clone, Debug, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Spans {
    /// Address; EMCO's `zipkin-ip` and port have to lead here.
    #[garde(skip)]
    #[serde(deserialize_with = "socket_address")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) listen: SocketAddr,
    /// Most bytes of spans on disk; the oldest go first.
    #[garde(range(min = DISK_BYTES_MIN, max = DISK_BYTES_MAX))]
    pub(crate) disk_bytes_max: u64,
    /// How long spans are kept for a restart.
    #[garde(range(min = Time::minutes(1), max = Time::hours(24)))]
    pub(crate) keep: Time,
}

/// The admin page.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Address of `/metrics` and `/health`.
    #[serde(deserialize_with = "socket_address")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(crate) listen: SocketAddr,
}

/// The ledger.
#[derive(Clone, Debug, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attribution {
    /// How long a line waits for late evidence. Verdicts are taken every 250 ms at most, so less
    /// than that does not mean sooner; `0s` means that no line waits.
    #[garde(range(min = Time::seconds(0), max = Time::seconds(20)))]
    pub(crate) wait: Time,
}

/// The hub.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hub {
    /// Its replicas; a name that leads to several addresses is as many of them. E.g.
    /// `https://emco-observer-hub.emco-observer.svc:8444`.
    #[garde(inner(custom(endpoint)))]
    pub(crate) addresses: Vec<String>,
    /// File with the token that proves who we are; read again for every request. E.g.
    /// `/var/run/secrets/emco-observer/token`.
    #[garde(skip)]
    pub(crate) token_file: Option<PathBuf>,
    /// TLS, where an address is `https`.
    #[garde(skip)]
    pub(crate) tls: Tls,
}

/// The destinations.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lanes {
    /// Fluentd or another receiver of the forward protocol.
    #[garde(dive)]
    pub(crate) forward: Option<Forward>,
    /// Elasticsearch or OpenSearch.
    #[garde(dive)]
    pub(crate) elastic: Option<Elastic>,
    /// Jaeger, an OpenTelemetry Collector or another receiver of OTLP over HTTP, for spans.
    #[garde(dive)]
    pub(crate) otlp: Option<Otlp>,
    /// Most bytes of verdicts on disk before reading stops; `67108864` unless said.
    #[garde(range(min = DISK_BYTES_MIN, max = DISK_BYTES_MAX))]
    pub(crate) disk_bytes_max: Option<u64>,
}

/// A forward destination.
#[derive(Clone, Debug, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Forward {
    /// `host:port` of the receiver. E.g. `fluentd:24224`.
    #[garde(custom(forward_address))]
    pub(crate) address: String,
    /// Tag of every message; `emco.logs` unless said.
    #[garde(inner(custom(filled)))]
    pub(crate) tag: Option<String>,
    /// File with the shared key; read again for every connection. E.g. `/etc/fluentd/key`.
    #[garde(skip)]
    pub(crate) shared_key_file: Option<PathBuf>,
    /// User name, where the receiver wants one. E.g. `emco`.
    #[garde(inner(custom(filled)))]
    pub(crate) username: Option<String>,
    /// File with that user's password; read again for every connection. E.g.
    /// `/etc/fluentd/password`.
    #[garde(skip)]
    pub(crate) password_file: Option<PathBuf>,
    /// Longest wait for an acknowledgement; then everything in flight is sent again. `60s` unless
    /// said.
    #[garde(range(min = Time::seconds(1), max = Time::minutes(10)))]
    pub(crate) ack_timeout: Option<Time>,
    /// TLS, where the receiver wants it; an empty section trusts the system's authorities.
    #[garde(skip)]
    pub(crate) tls: Option<Tls>,
    /// How messages are compressed.
    #[garde(skip)]
    #[serde(default)]
    pub(crate) compression: Compression,
}

/// A bulk destination.
#[derive(Clone, Debug, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Elastic {
    /// `http(s)://host[:port][/path]` of the server. E.g. `https://elasticsearch:9200`.
    #[garde(custom(http_url))]
    pub(crate) url: String,
    /// Prefix of the daily indices of log lines; `emco-logs` unless said.
    #[garde(skip)]
    pub(crate) index_prefix: Option<String>,
    /// User name. E.g. `emco`.
    #[garde(inner(custom(filled)))]
    pub(crate) username: Option<String>,
    /// File with that user's password; read again for every request. E.g.
    /// `/etc/elastic/password`.
    #[garde(skip)]
    pub(crate) password_file: Option<PathBuf>,
    /// File with an API key in its encoded form, instead of a user. E.g. `/etc/elastic/key`.
    #[garde(skip)]
    pub(crate) api_key_file: Option<PathBuf>,
    /// File with a bearer token, instead of a user; read again for every request. E.g.
    /// `/var/run/secrets/emco-observer/token`.
    #[garde(skip)]
    pub(crate) token_file: Option<PathBuf>,
    /// Longest time of one request; then it is sent again. `60s` unless said.
    #[garde(range(min = Time::seconds(1), max = Time::minutes(10)))]
    pub(crate) request_timeout: Option<Time>,
    /// TLS details, where the url is `https`.
    #[garde(skip)]
    #[serde(default)]
    pub(crate) tls: Tls,
    /// How requests are compressed.
    #[garde(skip)]
    #[serde(default)]
    pub(crate) compression: Compression,
}

/// A receiver of traces.
#[derive(Clone, Debug, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Otlp {
    /// `http(s)://host[:port][/path]`; `/v1/traces` is appended. E.g. `https://jaeger:4318`.
    #[garde(custom(http_url))]
    pub(crate) url: String,
    /// Most spans of one request; `256` unless said.
    #[garde(range(min = 1, max = 16_384))]
    pub(crate) batch_spans: Option<usize>,
    /// File with a bearer token, where the receiver wants one; read again for every request. E.g.
    /// `/var/run/secrets/emco-observer/token`.
    #[garde(skip)]
    pub(crate) token_file: Option<PathBuf>,
    /// Longest time of one request; then it is sent again. `10s` unless said.
    #[garde(range(min = Time::seconds(1), max = Time::minutes(10)))]
    pub(crate) request_timeout: Option<Time>,
    /// TLS details, where the url is `https`.
    #[garde(skip)]
    #[serde(default)]
    pub(crate) tls: Tls,
    /// How requests are compressed.
    #[garde(skip)]
    #[serde(default)]
    pub(crate) compression: Compression,
    /// Which share of traces nobody asked for is exported; those with errors always are.
    #[garde(dive)]
    #[serde(default)]
    pub(crate) noise: Noise,
}

/// How much of each kind of noise is exported: 0 is nothing, 1 is everything.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Noise {
    /// Passes of EMCO's metrics pollers.
    #[garde(range(min = 0.0, max = 1.0))]
    pub(crate) metrics_polls: f64,
    /// `GET /metrics`.
    #[garde(range(min = 0.0, max = 1.0))]
    pub(crate) scrapes: f64,
    /// Reads from etcd by which a worker asks once a second whether it is to stop.
    #[garde(range(min = 0.0, max = 1.0))]
    pub(crate) etcd_polls: f64,
    /// Every other read from etcd.
    #[garde(range(min = 0.0, max = 1.0))]
    pub(crate) etcd_reads: f64,
}

/// Whom to trust and who we are. The files are looked at for every connection, so certificates can
/// be replaced at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    /// PEM file with the authorities to trust instead of the system's. E.g. `/etc/tls/ca.crt`.
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM file with our own certificate chain, for servers that ask who we are. E.g.
    /// `/etc/tls/tls.crt`.
    pub(crate) cert_file: Option<PathBuf>,
    /// PEM file with the key of `cert_file`. E.g. `/etc/tls/tls.key`.
    pub(crate) key_file: Option<PathBuf>,
    /// Name to expect in the server's certificate, where it is not the destination's host. E.g.
    /// `collector.logging.svc`.
    pub(crate) server_name: Option<String>,
}

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline)
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    /// Not at all: inside a cluster bytes are cheaper than CPU.
    #[default]
    None,
    /// gzip, fastest level.
    Gzip,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Less could not hold a few segments.
const DISK_BYTES_MIN: u64 = 256 << 10;
const DISK_BYTES_MAX: u64 = 1 << 40;

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
            shutdown_grace: Time::seconds(20),
            log_level: telemetry::logs::DEFAULT_FILTER.to_owned(),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            pod_dir: None,
            files: Vec::new(),
            proxy_container: "istio-proxy".to_owned(),
            exclude: ["istio-init", "emco-observer-prepare", "emco-observer"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(LOOPBACK, 9411),
            disk_bytes_max: 128 << 20,
            keep: Time::minutes(15),
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
            wait: Time::seconds(2),
        }
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            metrics_polls: 0.01,
            scrapes: 0.01,
            etcd_polls: 0.01,
            etcd_reads: 1.0,
        }
    }
}

impl From<Tls> for net::TlsSettings {
    fn from(tls: Tls) -> Self {
        Self {
            ca_file: tls.ca_file,
            cert_file: tls.cert_file,
            key_file: tls.key_file,
            server_name: tls.server_name,
        }
    }
}

fn socket_address<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format_args!(
            "is {text:?}, but has to be an IP address with a port, such as 127.0.0.1:9411"
        ))
    })
}
