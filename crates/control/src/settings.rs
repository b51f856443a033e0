//! What an operator can say about the control plane, as types: the comment of a field is its
//! description, a text in backquotes behind `e.g.` its example.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use garde::Validate;
use serde::{Deserialize, Deserializer};

use crate::certificates::Policy;
use crate::inject;

/// Everything an operator can say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Levels of our own log: one for all, others by module. E.g. `info,control=debug`.
    #[garde(length(min = 1))]
    pub log_level: String,
    /// Where metrics and health are shown.
    #[garde(skip)]
    pub admin: Admin,
    /// What the API server calls.
    #[garde(dive)]
    pub webhook: Webhook,
    /// The hub, where sidecars tell each other which request acts on what; none unless said.
    #[garde(dive)]
    pub hub: Option<Hub>,
    /// How certificates are kept.
    #[garde(dive)]
    pub certificates: Certificates,
    /// How pods get their sidecar.
    #[garde(dive)]
    pub injection: inject::Settings,
    /// How pods are looked after.
    #[garde(dive)]
    pub watchdog: Watchdog,
}

/// How pods are looked after.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Watchdog {
    /// How often pods are looked at.
    #[garde(custom(at_least_a_second))]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// What new pods get once EMCO has waited for a container of ours in some pod at three looks in a
    /// row, or the sidecar has not run in any for that long; until it runs, or for an hour. Unless it is
    /// `never`, pods in which EMCO waits are deleted, so that their owners make new ones.
    #[garde(skip)]
    pub rollback: Rollback,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(1),
            rollback: Rollback::default(),
        }
    }
}

/// What new pods get while the sidecar does not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum Rollback {
    /// The same as ever.
    Never,
    /// A sidecar that EMCO does not wait for, without `wrap` and overlay. EMCO runs, but its pod is not
    /// ready while a container in it does not run.
    Optional,
    /// No sidecar.
    #[default]
    Without,
}

/// Where metrics and health are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address of `/metrics`, `/health` and `/ready`.
    pub listen: SocketAddr,
}

/// What the API server calls.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Webhook {
    /// Address of `/mutate`, with TLS.
    #[garde(skip)]
    pub listen: SocketAddr,
    /// Name of the `MutatingWebhookConfiguration`; all webhooks in it are ours.
    #[garde(length(min = 1, max = 253))]
    pub configuration: String,
    /// Name of the Service in our namespace through which the API server calls.
    #[garde(length(min = 1, max = 63))]
    pub service: String,
    /// How long a replica answers on after SIGTERM: until every API server has heard that it goes, pods
    /// that start would have no sidecar. Has to be less than the pod's grace period.
    #[garde(skip)]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    #[serde(deserialize_with = "duration")]
    pub stop_delay: Duration,
}

/// The hub, where sidecars tell each other which request acts on what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// Address of the hub, with TLS.
    #[garde(skip)]
    pub listen: SocketAddr,
    /// Name of the headless Service in our namespace that leads to every replica.
    #[garde(length(min = 1, max = 63))]
    pub service: String,
    /// Service accounts that report the access log of the ingress gateway, as `namespace/name`: what
    /// they say about who sent a request is believed. E.g. `istio-system/gateway-reporter`.
    #[garde(inner(custom(account)))]
    pub gateways: Vec<String>,
}

/// How certificates are kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Validate)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Certificates {
    /// Name of the Secret in our namespace with authority and certificate; made by us.
    #[garde(length(min = 1, max = 253))]
    pub secret: String,
    /// Name of the `ConfigMap` with the authority in every namespace with sidecars; made by us.
    #[garde(length(min = 1, max = 253))]
    pub authority_config_map: String,
    /// Names of more Services in our namespace under which the certificate is shown, by servers that
    /// mount the Secret. E.g. `emco-observer-lab`.
    #[garde(inner(length(min = 1, max = 63)))]
    pub more_services: Vec<String>,
    /// Age at which the authority gets its successor.
    #[garde(custom(at_least_certificate(&self.certificate_renewal)))]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    #[serde(deserialize_with = "duration")]
    pub authority_renewal: Duration,
    /// Age at which the certificate is replaced.
    #[garde(skip)]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    #[serde(deserialize_with = "duration")]
    pub certificate_renewal: Duration,
    /// How long it takes at most until every API server and replica has heard of something new.
    #[garde(skip)]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    #[serde(deserialize_with = "duration")]
    pub settle: Duration,
}

impl Certificates {
    /// When what is renewed.
    pub fn policy(&self) -> Policy {
        Policy {
            authority_renewal: self.authority_renewal,
            certificate_renewal: self.certificate_renewal,
            settle: self.settle,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_level: telemetry::logs::DEFAULT_FILTER.to_owned(),
            admin: Admin::default(),
            webhook: Webhook::default(),
            hub: None,
            certificates: Certificates::default(),
            injection: inject::Settings::default(),
            watchdog: Watchdog::default(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: everywhere(9464),
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            listen: everywhere(8443),
            configuration: "emco-observer".to_owned(),
            service: "emco-observer".to_owned(),
            stop_delay: Duration::from_secs(5),
        }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            listen: everywhere(8444),
            service: "emco-observer-hub".to_owned(),
            gateways: Vec::new(),
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            secret: "emco-observer-certificates".to_owned(),
            authority_config_map: "emco-observer-ca".to_owned(),
            more_services: Vec::new(),
            authority_renewal: policy.authority_renewal,
            certificate_renewal: policy.certificate_renewal,
            settle: policy.settle,
        }
    }
}

const fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

/// An account is named with its namespace: the same name means nothing in another one.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it so")]
fn account(text: &str, (): &()) -> garde::Result {
    let parts = text.split_once('/');
    let whole = parts.is_some_and(|(namespace, name)| {
        !namespace.is_empty() && !name.is_empty() && !name.contains('/')
    });
    whole
        .then_some(())
        .ok_or_else(|| garde::Error::new("is no namespace/name of a service account"))
}

/// A certificate of an authority that is replaced sooner than itself would be of no use.
fn at_least_certificate(certificate: &Duration) -> impl FnOnce(&Duration, &()) -> garde::Result {
    let least = *certificate;
    move |authority, &()| {
        let enough = *authority >= least;
        enough.then_some(()).ok_or_else(|| {
            garde::Error::new("is less than certificate_renewal; renew the authority later")
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde calls it so")]
fn at_least_a_second(interval: &Duration, _: &()) -> garde::Result {
    if *interval < Duration::from_secs(1) {
        return Err(garde::Error::new("has to be 1s at least"));
    }
    Ok(())
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// A whole number with `ms`, `s`, `m`, `h` or `d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let bad = || "has to be a whole number with ms, s, m, h or d, e.g. 10d";
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at_checked(unit).ok_or_else(bad)?;
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}
