//! Where the replicas are: a name may lead to several addresses, and behind each is one.
//!
//! Facts are told to every replica, so that all of them have to be known. The headless `Service` of a
//! cluster leads to all that are ready; replicas come and go, so that names are looked up again while
//! the hub is used: soon where one is away, now and then where all answer. Who does not use the hub
//! looks up nothing.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use net::{Endpoint, TlsSettings};
use tokio::net::lookup_host;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::HubHandle;

/// Longest time a look-up may take.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);
/// How old a look-up is before the next, while a replica is away.
const AWAY: Duration = Duration::from_secs(1);
/// The same while all answer: how late a new replica is told at most.
const ALL_THERE: Duration = Duration::from_secs(30);

/// One replica's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    /// With the name it has to prove.
    pub(crate) tls: TlsSettings,
}

/// The places that settings name, before anything is looked up.
pub(crate) fn named(endpoints: &[Endpoint], tls: &TlsSettings) -> Vec<Place> {
    let place = |endpoint: &Endpoint| Place {
        endpoint: endpoint.clone(),
        tls: tls.clone(),
    };
    endpoints.iter().map(place).collect()
}

/// Keeps `handle` pointed at what `endpoints` lead to, as `resolve` says, until `stop`.
pub(crate) async fn follow<F>(
    handle: HubHandle,
    endpoints: Vec<Endpoint>,
    tls: TlsSettings,
    stop: CancellationToken,
    resolve: impl Fn(String, u16) -> F,
) where
    F: Future<Output = io::Result<Vec<IpAddr>>>,
{
    if endpoints.iter().all(|endpoint| is_address(endpoint.host())) {
        return;
    }
    let mut current = named(&endpoints, &tls);
    let mut looked: Option<Instant> = None;
    loop {
        tokio::select! {
            () = handle.exchanged() => {}
            () = stop.cancelled() => return,
        }
        let pace = if handle.is_any_away() {
            AWAY
        } else {
            ALL_THERE
        };
        if looked.is_some_and(|looked| looked.elapsed() < pace) {
            continue;
        }
        let found = tokio::select! {
            found = look_up(&endpoints, &tls, &resolve) => found,
            () = stop.cancelled() => return,
        };
        looked = Some(Instant::now());
        if let Some(found) = found
            && found != current
        {
            tracing::info!(
                replicas = found.len(),
                "the hub's name leads to other addresses"
            );
            let mut places = found.clone();
            // Not everybody asks the same one.
            let first = fastrand::usize(..places.len().max(1));
            places.rotate_left(first);
            handle.move_to(places, &stop);
            current = found;
        }
    }
}

/// As the system resolves names.
pub(crate) async fn resolve(host: String, port: u16) -> io::Result<Vec<IpAddr>> {
    let found = lookup_host((host, port)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Every place, each once and in order; `None` if a name leads nowhere now.
async fn look_up<F>(
    endpoints: &[Endpoint],
    tls: &TlsSettings,
    resolve: impl Fn(String, u16) -> F,
) -> Option<Vec<Place>>
where
    F: Future<Output = io::Result<Vec<IpAddr>>>,
{
    let mut places = Vec::new();
    for endpoint in endpoints {
        let host = endpoint.host();
        let resolved = resolve(host.to_owned(), endpoint.port());
        let found = match timeout(LOOK_UP_MAX, resolved).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(host, %error, "the hub's name leads nowhere");
                return None;
            }
            Err(_) => return None,
        };
        places.extend(spread(endpoint, tls, &found));
    }
    Some(places)
}

/// The replicas behind one name. Where it leads to one address of a kind the name itself is used: a
/// host with an IPv4 and an IPv6 address is one replica, not two.
fn spread(endpoint: &Endpoint, tls: &TlsSettings, found: &[IpAddr]) -> Vec<Place> {
    let (four, six): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
        found.iter().partition(|address| address.is_ipv4());
    let addresses = if four.len() >= six.len() { four } else { six };
    if addresses.len() < 2 {
        return named(std::slice::from_ref(endpoint), tls);
    }
    let host = endpoint.host().to_owned();
    let tls = TlsSettings {
        server_name: tls.server_name.clone().or(Some(host)),
        ..tls.clone()
    };
    let place = |address| Place {
        endpoint: endpoint.at(address),
        tls: tls.clone(),
    };
    addresses.into_iter().map(place).collect()
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread_of(found: &[&str]) -> Vec<String> {
        let endpoint: Endpoint = "https://hub.emco.svc:8444".parse().unwrap();
        let found: Vec<IpAddr> = found.iter().map(|text| text.parse().unwrap()).collect();
        let places = spread(&endpoint, &TlsSettings::default(), &found);
        let show = |place: Place| {
            let name = place.tls.server_name.unwrap_or_default();
            format!("{} {name}", place.endpoint)
        };
        places.into_iter().map(show).collect()
    }

    #[test]
    fn each_address_of_a_name_is_a_replica() {
        assert_eq!(
            spread_of(&["10.0.0.7", "10.0.0.3", "10.0.0.7"]),
            [
                "https://10.0.0.3:8444 hub.emco.svc",
                "https://10.0.0.7:8444 hub.emco.svc"
            ]
        );
        assert_eq!(
            spread_of(&["fd00::1", "10.0.0.3", "fd00::2"]),
            [
                "https://[fd00::1]:8444 hub.emco.svc",
                "https://[fd00::2]:8444 hub.emco.svc"
            ]
        );
    }

    #[test]
    fn a_host_with_two_kinds_of_addresses_is_one_replica() {
        for found in [&["10.0.0.3"][..], &["::1", "127.0.0.1"], &[]] {
            assert_eq!(spread_of(found), ["https://hub.emco.svc:8444 "]);
        }
    }

    #[test]
    fn the_name_to_prove_is_what_settings_say() {
        let endpoint: Endpoint = "https://hub:1".parse().unwrap();
        let tls = TlsSettings {
            server_name: Some("other".to_owned()),
            ..TlsSettings::default()
        };
        let found = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let places = spread(&endpoint, &tls, &found);
        assert!(places.iter().all(|place| place.tls == tls) && places.len() == 2);
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_changes_nothing() {
        let endpoint: Endpoint = "http://nobody.invalid:1".parse().unwrap();
        assert_eq!(
            look_up(&[endpoint], &TlsSettings::default(), resolve).await,
            None
        );
    }
}
