//! One authority, and one certificate that it signed.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;
use twox_hash::XxHash3_64;
use x509_parser::pem::parse_x509_pem;

/// Clocks may differ by so much: what is made now was valid before.
const SKEW: Duration = Duration::from_mins(5);

/// Something that is no certificate or key of ours, or could not become one.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Making one failed.
    #[error("making a certificate")]
    Make(#[from] rcgen::Error),
    /// What was read is none.
    #[error("reading a certificate: {0}")]
    Read(String),
}

/// A certificate with its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) facts: Facts,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// When it was made.
    pub(crate) made: Timestamp,
    /// Until when it is valid.
    pub(crate) until: Timestamp,
    /// Its name, which no other has.
    subject: String,
    issuer: String,
    /// Names of the server, sorted.
    pub(crate) names: Vec<String>,
}

impl Pair {
    /// A new authority, valid for `life`.
    pub(crate) fn authority(now: Timestamp, life: Duration) -> Result<Self, Unusable> {
        let key = KeyPair::generate()?;
        let mut params = params("emco-observer authority", &key, now, life)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Self::read(certificate.pem(), key.serialize_pem())
    }

    /// A new certificate of a server with these names, signed by this authority, valid for `life`.
    pub(crate) fn sign(
        &self,
        names: &[String],
        now: Timestamp,
        life: Duration,
    ) -> Result<Self, Unusable> {
        let key = KeyPair::generate()?;
        let mut params = params("emco-observer-control", &key, now, life)?;
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        let certificate = params.signed_by(&key, &issuer)?;
        Self::read(certificate.pem(), key.serialize_pem())
    }

    /// Takes PEM, of which the certificate says what it is.
    pub(crate) fn read(certificate: String, key: String) -> Result<Self, Unusable> {
        KeyPair::from_pem(&key)?;
        let facts = Facts::read(&certificate)?;
        Ok(Self {
            certificate,
            key,
            facts,
        })
    }

    /// Whether this authority signed `other`.
    pub(crate) fn signed(&self, other: &Self) -> bool {
        self.facts.subject == other.facts.issuer
    }
}

/// A key is nobody's business.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.facts.fmt(f)
    }
}

impl Facts {
    fn read(pem: &str) -> Result<Self, Unusable> {
        let bad = |error: &dyn ToString| Unusable::Read(error.to_string());
        let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|error| bad(&error))?;
        let certificate = pem.parse_x509().map_err(|error| bad(&error))?;
        let at = |seconds| Timestamp::from_second(seconds).map_err(|error| bad(&error));
        let validity = certificate.validity();
        let begins = at(validity.not_before.timestamp())?;
        let names = certificate.subject_alternative_name();
        let names = names.map_err(|error| bad(&error))?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let mut names: Vec<String> = names
            .filter_map(|name| match name {
                x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        Ok(Self {
            made: begins.saturating_add(SKEW).map_err(|error| bad(&error))?,
            until: at(validity.not_after.timestamp())?,
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
        })
    }
}

fn params(
    name: &str,
    key: &KeyPair,
    now: Timestamp,
    life: Duration,
) -> Result<CertificateParams, Unusable> {
    let bad = |error: &dyn ToString| Unusable::Read(error.to_string());
    let at = |time: Timestamp| {
        OffsetDateTime::from_unix_timestamp(time.as_second()).map_err(|error| bad(&error))
    };
    let mut params = CertificateParams::default();
    // the authority that signed is found by its name, so no two may share one
    let key = XxHash3_64::oneshot(key.public_key_raw());
    params.distinguished_name = DistinguishedName::new();
    let common_name = format!("{name} {key:016x}");
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = at(now.saturating_sub(SKEW).map_err(|error| bad(&error))?)?;
    params.not_after = at(now.saturating_add(life).map_err(|error| bad(&error))?)?;
    Ok(params)
}
