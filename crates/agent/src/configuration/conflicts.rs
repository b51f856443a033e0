//! Settings that are right one by one and cannot be meant together.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use net::{Endpoint, Scheme};

use crate::settings::{Hub, Lanes, Settings, Tls};

/// Settings that contradict each other.
#[derive(Debug)]
pub(super) struct Conflict {
    /// Their keys: the mistake is shown at the first that was said.
    pub(super) paths: Vec<String>,
    pub(super) what: String,
}

impl Conflict {
    fn new<const N: usize>(paths: [&str; N], what: String) -> Self {
        Self {
            paths: paths.map(str::to_owned).to_vec(),
            what,
        }
    }
}

/// Everything in `settings` that contradicts itself.
pub(super) fn find(settings: &Settings) -> Vec<Conflict> {
    let mut found = tls(&settings.lanes, &settings.hub);
    found.extend(listeners(settings.admin.listen, settings.spans.listen));
    found.extend(
        settings
            .logs
            .pod_dir
            .as_deref()
            .and_then(|pod_dir| directories(&settings.state_dir, pod_dir)),
    );
    found.extend(replicas(&settings.hub.addresses));
    found
}

fn listeners(admin: SocketAddr, spans: SocketAddr) -> Option<Conflict> {
    // the system chooses another port for each 0
    let same_port = admin.port() == spans.port() && admin.port() != 0;
    let (one, other) = (admin.ip(), spans.ip());
    let same_family = one.is_ipv4() == other.is_ipv4();
    let same_host = one == other || same_family && (is_any(one) || is_any(other));
    (same_port && same_host).then(|| {
        Conflict::new(
            ["admin.listen", "spans.listen"],
            format!(
                "`admin.listen` is {admin} and `spans.listen` is {spans}: two listeners cannot have one port; give one of them another"
            ),
        )
    })
}

const fn is_any(address: IpAddr) -> bool {
    address.is_unspecified()
}

fn directories(state: &Path, pod: &Path) -> Option<Conflict> {
    let relation = if state == pod {
        "the same directory as"
    } else if state.starts_with(pod) {
        "inside"
    } else if !state.as_os_str().is_empty() && pod.starts_with(state) {
        "around"
    } else {
        return None;
    };
    let what = format!(
        "`state_dir` {} is {relation} `logs.pod_dir` {}: what we write would stand among the logs that are read; give `state_dir` a directory of its own",
        state.display(),
        pod.display()
    );
    Some(Conflict::new(["state_dir", "logs.pod_dir"], what))
}

fn replicas(addresses: &[String]) -> Vec<Conflict> {
    let parsed: Vec<Option<Endpoint>> = addresses.iter().map(|text| text.parse().ok()).collect();
    let mut found = Vec::new();
    for (index, address) in parsed.iter().enumerate() {
        let first = parsed.iter().position(|before| before == address);
        if let (Some(address), Some(first)) = (address, first)
            && first < index
        {
            let path = format!("hub.addresses[{index}]");
            let what = format!(
                "`{path}` is {address}, as `hub.addresses[{first}]` is; name each replica once"
            );
            found.push(Conflict {
                paths: vec![path],
                what,
            });
        }
    }
    found
}

fn tls(lanes: &Lanes, hub: &Hub) -> Vec<Conflict> {
    let mut found = Vec::new();
    if let Some(tls) = lanes.forward.as_ref().and_then(|lane| lane.tls.as_ref()) {
        found.extend(half_identity("lanes.forward", tls));
    }
    let elastic = lanes
        .elastic
        .as_ref()
        .map(|lane| ("lanes.elastic", &lane.url, &lane.tls));
    let otlp = lanes
        .otlp
        .as_ref()
        .map(|lane| ("lanes.otlp", &lane.url, &lane.tls));
    for (lane, url, tls) in elastic.into_iter().chain(otlp) {
        found.extend(half_identity(lane, tls));
        found.extend(unused(lane, url, tls));
    }
    found.extend(half_identity("hub", &hub.tls));
    found.extend(unused_by_hub(hub));
    found
}

/// A certificate without its key, or a key without its certificate.
fn half_identity(lane: &str, tls: &Tls) -> Option<Conflict> {
    let (said, missing) = match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => ("cert_file", "key_file"),
        (None, Some(_)) => ("key_file", "cert_file"),
        _ => return None,
    };
    let path = format!("{lane}.tls.{said}");
    let what =
        format!("`{path}` needs `{missing}` beside it: a certificate and its key go together");
    Some(Conflict {
        paths: vec![path, format!("{lane}.tls.{missing}")],
        what,
    })
}

fn unused_by_hub(hub: &Hub) -> Option<Conflict> {
    let https = |address: &String| {
        let endpoint = address.parse::<Endpoint>();
        endpoint.map_or(true, |endpoint| endpoint.scheme() == Scheme::Https)
    };
    let unused = hub.tls != Tls::default() && !hub.addresses.iter().any(https);
    unused.then(|| {
        let what = "`hub.tls` is of no use while none of `hub.addresses` begins with https://; write https://, or leave `tls` out";
        Conflict::new(["hub.tls", "hub.addresses"], what.to_owned())
    })
}

/// Details of TLS for a destination that is not asked for any.
fn unused(lane: &str, url: &str, tls: &Tls) -> Option<Conflict> {
    let plain = url.parse::<Endpoint>().ok()?.scheme() == Scheme::Http;
    (plain && *tls != Tls::default()).then(|| Conflict {
        paths: vec![format!("{lane}.tls"), format!("{lane}.url")],
        what: format!(
            "`{lane}.tls` is of no use while `{lane}.url` begins with http://; write https://, or leave `tls` out"
        ),
    })
}
