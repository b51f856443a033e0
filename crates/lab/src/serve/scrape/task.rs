//! The loop of one target, and what became of the last scrape of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use net::{ClientSettings, Endpoint, HttpClient};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::exposition;
use crate::serve::http::now;
use crate::serve::metrics::Metrics;
use crate::serve::store::Store;

/// Longest exposition that is read, in bytes.
const REPLY_BYTES_MAX: usize = 32 << 20;
const CONNECT_BOUND: Duration = Duration::from_secs(2);
const ACCEPT: HeaderValue = HeaderValue::from_static("text/plain;version=0.0.4");

/// A sidecar whose metrics are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The service it stands beside.
    pub(crate) name: String,
    /// Where its `/metrics` is.
    pub(crate) address: SocketAddr,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} is not NAME=ADDRESS, e.g. rsync=127.0.0.1:9464");
        let (name, address) = text.split_once('=').ok_or_else(wanted)?;
        let address = address.parse().map_err(|_| wanted())?;
        if name.is_empty() {
            return Err(wanted());
        }
        Ok(Self {
            name: name.to_owned(),
            address,
        })
    }
}

/// Whether the last scrape of each target succeeded, and why not.
#[derive(Debug, Default)]
pub(crate) struct Scrapes(Mutex<BTreeMap<String, Option<String>>>);

impl Scrapes {
    /// What is wrong with each target, by name.
    pub(crate) fn state(&self) -> BTreeMap<String, Option<String>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, name: &str, trouble: Option<String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.insert(name.to_owned(), trouble);
    }
}

/// Scrapes `targets` every `period` until `stop`.
pub(crate) async fn run(
    targets: Vec<Target>,
    period: Duration,
    store: Store,
    metrics: Arc<Metrics>,
    scrapes: Arc<Scrapes>,
    stop: CancellationToken,
) {
    let loops = targets.into_iter().map(|target| {
        let scraper = Scraper {
            client: client(&target, period),
            target,
            store: store.clone(),
            metrics: Arc::clone(&metrics),
            scrapes: Arc::clone(&scrapes),
        };
        stop.clone().run_until_cancelled_owned(scraper.run(period))
    });
    futures_util::future::join_all(loops).await;
}

fn client(target: &Target, period: Duration) -> Option<HttpClient> {
    let endpoint: Endpoint = format!("http://{}", target.address).parse().ok()?;
    let settings = ClientSettings {
        connect_timeout: CONNECT_BOUND,
        request_timeout: period.max(CONNECT_BOUND),
        reply_bytes_max: REPLY_BYTES_MAX,
        idle_connections_max: 1,
        ..ClientSettings::default()
    };
    Some(HttpClient::new(endpoint, settings))
}

struct Scraper {
    client: Option<HttpClient>,
    target: Target,
    store: Store,
    metrics: Arc<Metrics>,
    scrapes: Arc<Scrapes>,
}

impl Scraper {
    async fn run(self, period: Duration) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let trouble = self.scrape().await.err();
            let outcome = if trouble.is_none() { "done" } else { "failed" };
            self.metrics.scrapes.with_label_values(&[outcome]).inc();
            if let Some(trouble) = &trouble {
                tracing::debug!(service = self.target.name, trouble, "scrape failed");
            }
            self.scrapes.set(&self.target.name, trouble);
        }
    }

    async fn scrape(&self) -> Result<(), String> {
        let client = self.client.as_ref().ok_or("the address is not usable")?;
        let headers = HeaderMap::from_iter([(header::ACCEPT, ACCEPT)]);
        let reply = client
            .send(Method::GET, "/metrics", headers, Bytes::new())
            .await
            .map_err(|error| net::chain(&error))?;
        if reply.status != StatusCode::OK {
            return Err(format!("it answered {}", reply.status));
        }
        let text = String::from_utf8_lossy(&reply.body);
        let time = now();
        let samples = exposition::read(&text, &self.target.name).into_iter();
        let samples = samples.map(|(service, mut sample)| {
            sample.time = time;
            (service, sample)
        });
        let samples: Vec<_> = samples.collect();
        let stored = self.store.write_samples(samples).await;
        stored.map(drop).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_name_and_an_address() {
        let target: Target = "rsync=127.0.0.1:9464".parse().unwrap();
        assert_eq!(target.name, "rsync");
        assert_eq!(target.address.port(), 9464);
        for bad in ["", "rsync", "=127.0.0.1:1", "rsync=9464", "rsync=host:x"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
