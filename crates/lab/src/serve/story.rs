//! The story of one request: who, what, where, in which order.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::store::{self, Store};

/// Documents of one request that are shown at most.
const DOCUMENTS_MAX: usize = 20_000;

/// A person as the documents of a request name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// `user.id`
    pub(crate) id: String,
    /// `emco.user.source`
    pub(crate) source: String,
}

/// What the documents of one request say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    /// The person, if it is proven and nobody says otherwise.
    pub(crate) user: Option<Person>,
    /// Two documents name two people; that must never be.
    pub(crate) contradiction: bool,
    /// First moment in nanoseconds since the epoch.
    pub(crate) start: u64,
    /// Last moment.
    pub(crate) end: u64,
    /// How many lines each service printed.
    pub(crate) services: BTreeMap<String, u64>,
}

impl Story {
    /// Puts `documents` together.
    pub(crate) fn tell(documents: &[(String, Facts)]) -> Self {
        let mut story = Self {
            start: u64::MAX,
            ..Self::default()
        };
        for (_, facts) in documents {
            let (start, end) = span(facts);
            story.start = story.start.min(start);
            story.end = story.end.max(end);
            let lines = story.services.entry(facts.service.clone()).or_default();
            *lines += u64::from(!facts.request);
            story.hear(facts);
        }
        story.start = story.start.min(story.end);
        if story.contradiction {
            story.user = None;
        }
        story
    }

    fn hear(&mut self, facts: &Facts) {
        if facts.user.is_empty() {
            return;
        }
        match &self.user {
            Some(user) => self.contradiction |= user.id != facts.user,
            None => {
                self.user = Some(Person {
                    id: facts.user.clone(),
                    source: facts.user_source.clone(),
                });
            }
        }
    }
}

/// First and last moment of what a document describes.
pub(crate) fn span(facts: &Facts) -> (u64, u64) {
    if facts.request && facts.http.start > 0 {
        let end = facts.http.start.saturating_add(facts.http.duration);
        return (facts.http.start, end);
    }
    (facts.time, facts.time)
}

/// Everything that is known of the request `trace`, oldest first; and whether there is more.
pub(crate) async fn documents_of(
    store: &Store,
    trace: &str,
) -> Result<(Vec<(String, Facts)>, bool), store::Error> {
    let trace = trace.to_ascii_lowercase();
    store
        .read(move |connection| store::request(connection, &trace, DOCUMENTS_MAX))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(documents: &[&str]) -> Story {
        let documents: Vec<_> = documents
            .iter()
            .map(|json| ((*json).to_owned(), Facts::parse(json).unwrap()))
            .collect();
        Story::tell(&documents)
    }

    #[test]
    fn a_request_lasts_from_its_start_to_its_end_and_beyond_with_its_lines() {
        let story = told(&[
            r#"{"event.action":"request","event.start":"2026-11-23T04:09:37Z","event.duration":5000000000,
                "@timestamp":"2026-11-23T04:09:42Z","service.name":"orchestrator","user.id":"alice"}"#,
            r#"{"@timestamp":"2026-11-23T04:09:50Z","service.name":"rsync"}"#,
        ]);
        assert_eq!(story.end - story.start, 13_000_000_000);
        assert_eq!(story.services["orchestrator"], 0);
        assert_eq!(story.services["rsync"], 1);
        assert_eq!(story.user.unwrap().id, "alice");
    }

    #[test]
    fn two_people_are_nobody() {
        let story = told(&[r#"{"user.id":"alice"}"#, r#"{"user.id":"bob"}"#]);
        assert!(story.contradiction);
        assert_eq!(story.user, None);
    }
}
