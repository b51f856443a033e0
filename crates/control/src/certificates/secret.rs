//! The form in which a Secret keeps a chain; the first two keys are those of type `kubernetes.io/tls`.
//!
//! | key | is |
//! |---|---|
//! | `tls.crt`, `tls.key` | the server's certificate and its key |
//! | `ca.crt` | the authorities, the newest first |
//! | `ca.key` | their keys, in the same order |

use std::collections::BTreeMap;

use super::authority::{Pair, Unusable};
use super::chain::Chain;

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
pub(super) const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEYS: &str = "ca.key";
const END: &str = "-----END";

/// The data of the Secret.
pub(super) fn encode(chain: &Chain) -> BTreeMap<String, String> {
    let newest_first = || chain.authorities.iter().rev();
    let shown = chain.shown.as_ref();
    [
        (CERTIFICATE, shown.map(|pair| pair.certificate.clone())),
        (KEY, shown.map(|pair| pair.key.clone())),
        (AUTHORITIES, Some(chain.trusted())),
        (
            AUTHORITY_KEYS,
            Some(newest_first().map(|pair| pair.key.as_str()).collect()),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.unwrap_or_default()))
    .collect()
}

/// Reads the data of the Secret.
///
/// # Errors
/// If it is not what [`encode`] makes.
pub(super) fn decode(data: &BTreeMap<String, String>) -> Result<Chain, Unusable> {
    let text = |name: &str| {
        let text = data.get(name).map(String::as_str);
        text.ok_or_else(|| Unusable::Read(format!("the Secret has no {name}")))
    };
    let (certificates, keys) = (blocks(text(AUTHORITIES)?), blocks(text(AUTHORITY_KEYS)?));
    if certificates.len() != keys.len() {
        return Err(Unusable::Read(format!(
            "the Secret has {} authorities and {} keys of them",
            certificates.len(),
            keys.len()
        )));
    }
    let pairs = certificates.into_iter().zip(keys).rev();
    let authorities = pairs.map(|(certificate, key)| Pair::read(certificate, key));
    let shown = Pair::read(text(CERTIFICATE)?.to_owned(), text(KEY)?.to_owned())?;
    Ok(Chain {
        authorities: authorities.collect::<Result<_, _>>()?,
        shown: Some(shown),
    })
}

/// Whether somebody else keeps a certificate there, as cert-manager does: [`encode`] writes no server's
/// key without those of the authorities.
pub(super) fn is_foreign(data: &BTreeMap<String, String>) -> bool {
    let has = |name: &str| data.get(name).is_some_and(|text| !text.trim().is_empty());
    has(KEY) && !has(AUTHORITY_KEYS)
}

/// The blocks of a PEM file.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        block.push_str(line);
        block.push('\n');
        if line.starts_with(END) {
            blocks.push(std::mem::take(&mut block));
        }
    }
    blocks
}
