//! What may be meant and probably is not: said, and no reason not to run.

use correlate::callmap::CallMap;

use super::mistakes::suggestion;

/// A service that the call map does not know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownService<'a> {
    service: &'a str,
    /// The known one whose name is nearest.
    meant: Option<&'static str>,
}

impl<'a> UnknownService<'a> {
    /// Whether `service` is one. EMCO may get new ones, so it is no mistake.
    pub(crate) fn find(service: &'a str) -> Option<Self> {
        if CallMap::services().any(|known| known == service) {
            return None;
        }
        let lower = service.to_ascii_lowercase();
        let meant = suggestion(&lower, CallMap::services());
        Some(Self { service, meant })
    }

    /// Says so in our own log.
    pub(crate) fn warn(&self) {
        tracing::warn!(
            service = self.service,
            meant = self.meant,
            "the call map does not know this service: fewer of its lines get their person"
        );
    }
}

impl std::fmt::Display for UnknownService<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`service` is {:?}, which the call map does not know, so fewer of its lines get their person",
            self.service
        )?;
        match self.meant {
            Some(meant) => write!(f, "; did you mean {meant}?"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_call_map_knows_is_beyond_doubt() {
        for known in ["orchestrator", "clm", "rsync"] {
            assert_eq!(UnknownService::find(known), None);
        }
    }

    #[test]
    fn what_it_does_not_know_is_said_with_what_is_near() {
        let said = |service| UnknownService::find(service).unwrap().to_string();
        let near = "`service` is \"Orchestratr\", which the call map does not know, so fewer of its lines get their person; did you mean orchestrator?";
        assert_eq!(said("Orchestratr"), near);
        assert!(said("billing-gateway").ends_with("get their person"));
    }
}
