//! What is kept, and what has to be done when. Pure: time is an argument.

use std::time::Duration;

use jiff::Timestamp;

use super::authority::{Pair, Unusable};

/// Beyond its renewal a certificate is valid for twice as long again, and for this.
const SPARE: Duration = Duration::from_hours(1);

/// When what is renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Age at which an authority gets its successor.
    pub authority_renewal: Duration,
    /// Age at which a server's certificate is replaced.
    pub certificate_renewal: Duration,
    /// How long it takes at most until everybody has heard of something new.
    pub settle: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            authority_renewal: Duration::from_hours(180 * 24),
            certificate_renewal: Duration::from_hours(10 * 24),
            settle: Duration::from_mins(10),
        }
    }
}

/// Authorities, the oldest first, and the certificate that is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    pub(crate) authorities: Vec<Pair>,
    pub(crate) shown: Option<Pair>,
}

impl Chain {
    /// What this has to become, if anything: `published` is the PEM of the authorities that clients
    /// trust already, `names` those of the server.
    ///
    /// # Errors
    /// If a certificate cannot be made.
    pub fn next(
        &self,
        published: &str,
        names: &[String],
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Option<Self>, Unusable> {
        let mut next = self.clone();
        let newest = next.authorities.last();
        if newest.is_none_or(|newest| newest.facts.is_due(policy.authority_renewal, now)) {
            let life = life(policy.authority_renewal);
            next.authorities.push(Pair::authority(now, life)?);
        }
        next.sign(published, names, policy, now)?;
        next.forget(policy, now);
        Ok((next != *self).then_some(next))
    }

    /// When [`Chain::next`] has something to do by itself.
    pub fn due(&self, policy: &Policy) -> Option<Timestamp> {
        let authority = self.authorities.last()?.facts.due(policy.authority_renewal);
        let shown = self.shown.as_ref()?;
        let certificate = shown.facts.due(policy.certificate_renewal);
        let forget = self.forgotten_from(policy);
        forget.into_iter().chain([authority, certificate]).min()
    }

    /// All authorities as PEM, the newest first.
    pub fn trusted(&self) -> String {
        let newest_first = self.authorities.iter().rev();
        newest_first.map(|pair| pair.certificate.as_str()).collect()
    }

    /// Until when the certificate that is shown is valid.
    pub fn expires(&self) -> Option<Timestamp> {
        Some(self.shown.as_ref()?.facts.until)
    }

    /// Replaces the certificate if it is due, by the newest authority that everybody knows.
    fn sign(
        &mut self,
        published: &str,
        names: &[String],
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), Unusable> {
        let good = self.shown.as_ref().is_some_and(|shown| {
            // More are fine: replicas of two versions must not take turns.
            names.iter().all(|name| shown.facts.names.contains(name))
                && !shown.facts.is_due(policy.certificate_renewal, now)
                && self.authorities.iter().any(|pair| pair.signed(shown))
        });
        if good {
            return Ok(());
        }
        let known = self.authorities.iter().rev().find(|pair| {
            pair.facts.is_due(policy.settle, now) && published.contains(pair.certificate.trim())
        });
        if let Some(authority) = known.or(self.authorities.first()) {
            let life = life(policy.certificate_renewal);
            self.shown = Some(authority.sign(names, now, life)?);
        }
        Ok(())
    }

    /// Forgets authorities before the one that signed, once nobody shows what they signed.
    fn forget(&mut self, policy: &Policy, now: Timestamp) {
        while self.forgotten_from(policy).is_some_and(|from| from <= now) {
            self.authorities.remove(0);
        }
    }

    /// When the oldest authority may go: its successor settled and signed, the last certificate before
    /// that was replaced, and that settled, too.
    fn forgotten_from(&self, policy: &Policy) -> Option<Timestamp> {
        let [first, second, ..] = self.authorities.as_slice() else {
            return None;
        };
        let shown = self.shown.as_ref()?;
        let settled = policy.settle.saturating_mul(2);
        let age = settled.saturating_add(policy.certificate_renewal);
        (!first.signed(shown)).then(|| second.facts.due(age))
    }
}

impl super::authority::Facts {
    fn due(&self, age: Duration) -> Timestamp {
        self.made.saturating_add(age).unwrap_or(Timestamp::MAX)
    }

    fn is_due(&self, age: Duration, now: Timestamp) -> bool {
        self.due(age) <= now
    }
}

fn life(renewal: Duration) -> Duration {
    renewal.saturating_mul(3).saturating_add(SPARE)
}

#[cfg(test)]
mod tests;
