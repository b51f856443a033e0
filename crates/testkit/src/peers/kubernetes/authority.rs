//! Certificates for what a cluster and its webhooks serve.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;

/// Who signs certificates, for as long as the value lives.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with its key, both as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key, as PKCS #8.
    pub key: String,
}

#[expect(
    clippy::expect_used,
    reason = "a test without certificates has nothing to say"
)]
impl Authority {
    /// Makes one.
    ///
    /// # Panics
    /// If it cannot.
    pub fn generate(name: &str) -> Self {
        let key = KeyPair::generate().expect("make a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("sign the certificate");
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Its own certificate as PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Its own certificate.
    pub fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// A certificate of a server that is called by any of `names`: host names or addresses.
    ///
    /// # Panics
    /// If a name cannot be in a certificate.
    pub fn issue(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().expect("make a key");
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names of a server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer);
        Identity {
            certificate: certificate.expect("sign the certificate").pem(),
            key: key.serialize_pem(),
        }
    }
}
