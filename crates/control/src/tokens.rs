//! Who asks the hub: service-account tokens, checked by the API server.
//!
//! | token of | role |
//! |---|---|
//! | an account that `hub.gateways` names | reports for the ingress gateway |
//! | a pod in a namespace whose pods get sidecars | sidecar |
//! | anybody else, or for another audience | none |
//!
//! A sidecar's token is projected into its pod and bound to it: with the pod, its token is gone. What
//! the API server said is remembered for a while, by the token's digest; the token itself is not kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hub::{Authority, Judgement, Role, Unavailable};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::Client;
use kube::api::{Api, PostParams};
use prometheus::IntCounterVec;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::inject::AUDIENCE;

/// Where a token says to which pod it is bound.
const POD: &str = "authentication.kubernetes.io/pod-name";
const ACCOUNT: &str = "system:serviceaccount:";
/// How long a good token is taken without asking again: as late as the end of its pod is noticed.
const GOOD: Duration = Duration::from_mins(2);
/// The same for one that is not.
const BAD: Duration = Duration::from_secs(10);
/// Tokens remembered; each is some hundred bytes. The one that is asked about first goes first.
const REMEMBERED_MAX: usize = 4096;
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Questions to the API server at a time: who sends nonsense must not keep it busy.
const REVIEWS_MAX: usize = 8;
const REVIEW_TIME_MAX: Duration = Duration::from_secs(3);

/// Checks tokens. Knows what each account may be.
pub struct Tokens {
    client: Client,
    cluster: Arc<Cluster>,
    /// `namespace/name` of the accounts that report for the gateway.
    gateways: Vec<String>,
    remembered: Mutex<HashMap<[u8; 32], Remembered>>,
    reviews: Semaphore,
    /// By outcome: `good`, `bad`, `failed`.
    counts: IntCounterVec,
}

/// Whose token it is. What they may do is decided anew each time: namespaces change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    namespace: String,
    name: String,
    /// The pod it is bound to.
    pod: Option<String>,
}

struct Remembered {
    account: Option<Account>,
    since: Instant,
}

impl Remembered {
    fn is_old(&self, now: Instant) -> bool {
        let most = if self.account.is_some() { GOOD } else { BAD };
        now.saturating_duration_since(self.since) >= most
    }
}

impl Authority for Tokens {
    fn role<'a>(&'a self, token: Option<&'a [u8]>) -> Judgement<'a> {
        Box::pin(async move {
            let Some(token) = token.filter(|token| token.len() <= TOKEN_BYTES_MAX) else {
                return Ok(None);
            };
            let Ok(token) = std::str::from_utf8(token) else {
                return Ok(None);
            };
            let account = self.account(token).await?;
            Ok(account.and_then(|account| self.role_of(&account)))
        })
    }
}

impl Tokens {
    /// Knows no token yet.
    pub fn new(
        client: Client,
        cluster: Arc<Cluster>,
        gateways: Vec<String>,
        counts: IntCounterVec,
    ) -> Self {
        Self {
            client,
            cluster,
            gateways,
            remembered: Mutex::default(),
            reviews: Semaphore::new(REVIEWS_MAX),
            counts,
        }
    }

    async fn account(&self, token: &str) -> Result<Option<Account>, Unavailable> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(account) = self.recall(&digest) {
            return Ok(account);
        }
        let permit = timeout(REVIEW_TIME_MAX, self.reviews.acquire()).await;
        let _permit = permit.map_err(|_| Unavailable)?.map_err(|_| Unavailable)?;
        // Somebody else may have asked while we waited.
        if let Some(account) = self.recall(&digest) {
            return Ok(account);
        }
        let reviewed = timeout(REVIEW_TIME_MAX, self.review(token)).await;
        let reviewed = reviewed.map_err(|_| "the API server did not answer in time".to_owned());
        let reviewed = reviewed.and_then(|asked| asked.map_err(|error| net::chain(&error)));
        let outcome = match &reviewed {
            Ok(Some(_)) => "good",
            Ok(None) => "bad",
            Err(_) => "failed",
        };
        self.counts.with_label_values(&[outcome]).inc();
        let account = reviewed.map_err(|error| {
            tracing::warn!(error, "a token could not be checked");
            Unavailable
        })?;
        self.remember(digest, account.clone());
        Ok(account)
    }

    async fn review(&self, token: &str) -> kube::Result<Option<Account>> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let status = answer.status.unwrap_or_default();
        let ours = |audiences: Vec<String>| audiences.iter().any(|one| one == AUDIENCE);
        let good = status.authenticated == Some(true) && status.audiences.is_some_and(ours);
        Ok(status.user.filter(|_| good).and_then(account_of))
    }

    fn role_of(&self, account: &Account) -> Option<Role> {
        let Account {
            namespace, name, ..
        } = account;
        let gateway = |known: &String| known.split_once('/') == Some((namespace, name));
        if self.gateways.iter().any(gateway) {
            return Some(Role::Gateway);
        }
        let injected = account.pod.is_some() && self.cluster.is_injected(namespace);
        injected.then_some(Role::Sidecar)
    }

    /// What is known of a token; none if it has to be asked about.
    #[expect(clippy::option_option, reason = "known to be nobody's, and not known")]
    fn recall(&self, digest: &[u8; 32]) -> Option<Option<Account>> {
        let remembered = self.lock();
        let known = remembered.get(digest)?;
        (!known.is_old(Instant::now())).then(|| known.account.clone())
    }

    fn remember(&self, digest: [u8; 32], account: Option<Account>) {
        let now = Instant::now();
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, known| !known.is_old(now));
        }
        if remembered.len() >= REMEMBERED_MAX {
            let oldest = remembered.iter().min_by_key(|(_, known)| known.since);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                remembered.remove(&oldest);
            }
        }
        let since = now;
        remembered.insert(digest, Remembered { account, since });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service account that a review names; none if it names somebody else.
fn account_of(user: UserInfo) -> Option<Account> {
    let username = user.username?;
    let (namespace, name) = username.strip_prefix(ACCOUNT)?.split_once(':')?;
    let pods = user.extra.as_ref().and_then(|extra| extra.get(POD));
    Some(Account {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        pod: pods.and_then(|pods| pods.first()).cloned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn user(name: &str, extra: &[(&str, &str)]) -> UserInfo {
        let extra = extra.iter();
        let extra = extra.map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()]));
        UserInfo {
            username: Some(name.to_owned()),
            extra: Some(extra.collect::<BTreeMap<_, _>>()),
            ..UserInfo::default()
        }
    }

    #[test]
    fn an_account_has_a_namespace_a_name_and_a_pod() {
        let bound = user("system:serviceaccount:emco:default", &[(POD, "clm-0")]);
        let account = account_of(bound).unwrap();
        assert_eq!((&*account.namespace, &*account.name), ("emco", "default"));
        assert_eq!(account.pod.as_deref(), Some("clm-0"));
        let unbound = user("system:serviceaccount:istio-system:gateway", &[]);
        assert_eq!(account_of(unbound).unwrap().pod, None);
    }

    #[test]
    fn nobody_else_is_an_account() {
        for name in ["admin", "system:node:a", "system:serviceaccount:emco", ""] {
            assert_eq!(account_of(user(name, &[])), None, "{name}");
        }
    }

    #[test]
    fn what_is_known_gets_old() {
        let now = Instant::now();
        let bad = Remembered {
            account: None,
            since: now,
        };
        assert!(!bad.is_old(now) && bad.is_old(now + BAD));
        let account = account_of(user("system:serviceaccount:a:b", &[]));
        let good = Remembered {
            account,
            since: now,
        };
        assert!(!good.is_old(now + BAD) && good.is_old(now + GOOD));
    }
}
