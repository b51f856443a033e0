//! Tokens that a hub elsewhere judges, for servers that the same sidecars send to.
//!
//! Whoever may tell the hub nothing at all, may send: a tell without facts says so. Which role a peer has
//! there is not learned; all are sidecars.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use net::{ClientSettings, Endpoint, HttpClient, TlsSettings};
use sha2::{Digest as _, Sha256};

use crate::authority::{Authority, Judgement, Role, Unavailable};
use crate::wire::{Tell, VERSION, encode};

/// How long a good token is taken without asking again.
const GOOD: Duration = Duration::from_mins(1);
/// The same for one that is not.
const BAD: Duration = Duration::from_secs(5);
/// Tokens remembered, by their digests.
const REMEMBERED_MAX: usize = 4096;
const ASK_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Asks a hub.
#[derive(Debug)]
pub struct RemoteAuthority {
    http: HttpClient,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    is_good: bool,
    since: Instant,
}

impl Remembered {
    fn is_old(self, now: Instant) -> bool {
        let kept = if self.is_good { GOOD } else { BAD };
        now.duration_since(self.since) >= kept
    }
}

impl RemoteAuthority {
    /// The hub at `endpoint`; nothing is opened yet.
    pub fn new(endpoint: Endpoint, tls: TlsSettings) -> Self {
        let limits = ClientSettings {
            connect_timeout: ASK_MAX,
            request_timeout: ASK_MAX,
            reply_bytes_max: ANSWER_BYTES_MAX,
            tls,
            ..ClientSettings::default()
        };
        Self {
            http: HttpClient::new(endpoint, limits),
            remembered: Mutex::default(),
        }
    }

    async fn judge(&self, token: &[u8]) -> Result<bool, Unavailable> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = self.lock().get(&digest).copied();
        if let Some(known) = known.filter(|known| !known.is_old(Instant::now())) {
            return Ok(known.is_good);
        }
        let is_good = self.ask(token).await.map_err(|error| {
            tracing::warn!(hub = %self.http.endpoint(), error, "a token could not be checked");
            Unavailable
        })?;
        self.remember(digest, is_good);
        Ok(is_good)
    }

    async fn ask(&self, token: &[u8]) -> Result<bool, String> {
        let bearer = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
        let Ok(mut bearer) = bearer else {
            return Ok(false);
        };
        bearer.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let headers = [
            (header::AUTHORIZATION, bearer),
            (header::CONTENT_TYPE, json),
        ];
        let nothing = Tell {
            version: VERSION,
            facts: Vec::new(),
        };
        let (headers, body) = (HeaderMap::from_iter(headers), Bytes::from(encode(&nothing)));
        let sent = self.http.send(Method::POST, "/v1/tell", headers, body);
        let reply = sent.await.map_err(|error| net::chain(&error))?;
        match reply.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(false),
            status if status.is_success() => Ok(true),
            status => Err(format!("it answers {status}")),
        }
    }

    fn remember(&self, digest: [u8; 32], is_good: bool) {
        let since = Instant::now();
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, known| !known.is_old(since));
        }
        if remembered.len() >= REMEMBERED_MAX {
            // to ask again costs less than to look for the oldest
            remembered.clear();
        }
        remembered.insert(digest, Remembered { is_good, since });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authority for RemoteAuthority {
    fn role<'a>(&'a self, token: Option<&'a [u8]>) -> Judgement<'a> {
        Box::pin(async move {
            match token {
                None => Ok(None),
                Some(token) => Ok(self.judge(token).await?.then_some(Role::Sidecar)),
            }
        })
    }
}
