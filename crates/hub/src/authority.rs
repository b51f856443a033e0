//! Who may say what.

use std::future;
use std::hint::black_box;
use std::path::PathBuf;
use std::pin::Pin;

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Asks, and tells operations.
    Sidecar,
    /// Reports for the ingress gateway: also says who a trace belongs to.
    Gateway,
}

/// Decides what a peer is, from the bearer token of its request.
pub trait Authority: Send + Sync {
    /// The peer's role; `None` if it has none and is turned away.
    ///
    /// # Errors
    /// [`Unavailable`] if that cannot be said now: the peer is asked to come again.
    fn role<'a>(&'a self, token: Option<&'a [u8]>) -> Judgement<'a>;
}

/// What a peer is, once it is known.
pub type Judgement<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Role>, Unavailable>> + Send + 'a>>;

/// Nothing can be said about a token now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tokens cannot be checked now")]
pub struct Unavailable;

/// What proves a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nothing does: nobody has the role.
    #[default]
    Nobody,
    /// Nothing is needed: everybody has the role. For loopback only.
    Anyone,
    /// The token in this file, read for each request, so that it can be replaced at any time.
    File(PathBuf),
}

/// Roles proven by tokens in files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFiles {
    /// What proves a sidecar.
    pub sidecar: Credential,
    /// What proves the gateway's reporter; nobody, unless set.
    pub gateway: Credential,
}

impl TokenFiles {
    fn known(&self, token: Option<&[u8]>) -> Option<Role> {
        if self.gateway.is_proven_by(token) {
            return Some(Role::Gateway);
        }
        self.sidecar.is_proven_by(token).then_some(Role::Sidecar)
    }
}

impl Authority for TokenFiles {
    fn role<'a>(&'a self, token: Option<&'a [u8]>) -> Judgement<'a> {
        Box::pin(future::ready(Ok(self.known(token))))
    }
}

impl Credential {
    fn is_proven_by(&self, token: Option<&[u8]>) -> bool {
        match self {
            Self::Nobody => false,
            Self::Anyone => true,
            Self::File(path) => match net::secret::read(path) {
                Ok(expected) => token.is_some_and(|token| same(expected.trim().as_bytes(), token)),
                Err(error) => {
                    let error = net::chain(&error);
                    tracing::error!(error, "the hub token cannot be read");
                    false
                }
            },
        }
    }
}

/// Compares in a time that depends on the lengths only.
fn same(expected: &[u8], token: &[u8]) -> bool {
    let differences = expected
        .iter()
        .zip(token)
        .fold(0, |differences, (a, b)| black_box(differences | (a ^ b)));
    expected.len() == token.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn only_the_whole_token_proves_a_role() {
        let (sidecar, gateway) = (file("side\n"), file("gate\n"));
        let files = TokenFiles {
            sidecar: Credential::File(sidecar.path().into()),
            gateway: Credential::File(gateway.path().into()),
        };
        assert_eq!(files.known(Some(b"gate")), Some(Role::Gateway));
        assert_eq!(files.known(Some(b"side")), Some(Role::Sidecar));
        for token in [
            None,
            Some(&b""[..]),
            Some(b"gat"),
            Some(b"gatee"),
            Some(b"gatf"),
        ] {
            assert_eq!(files.known(token), None, "{token:?}");
        }
    }

    #[test]
    fn an_empty_or_missing_token_file_lets_nobody_in() {
        let empty = file(" \n");
        for path in [empty.path(), Path::new("/nowhere/token")] {
            let credential = Credential::File(path.into());
            assert!(!credential.is_proven_by(Some(b"")));
            assert!(!credential.is_proven_by(None));
        }
    }

    #[test]
    fn nobody_is_the_gateway_unless_set() {
        let files = TokenFiles {
            sidecar: Credential::Anyone,
            ..TokenFiles::default()
        };
        assert_eq!(files.known(Some(b"anything")), Some(Role::Sidecar));
    }
}
