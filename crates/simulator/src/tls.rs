//! Certificates: an authority that lives as long as the server, and its one leaf.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot use the certificate: {0}")]
    Rustls(#[from] tokio_rustls::rustls::Error),
}

/// What serves TLS, and the authority's certificate as PEM for clients to trust.
pub(crate) fn acceptor(hosts: &[String]) -> Result<(TlsAcceptor, String), TlsError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "Shardwright simulator authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let ca_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut leaf = CertificateParams::new(hosts.to_vec())?;
    leaf.distinguished_name.push(DnType::CommonName, "Shardwright simulator");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&leaf_key, &issuer)?;

    // The provider is named: another crate in the process may bring another one.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), ca_pem))
}

/// The names a certificate is for: this machine, the address listened on, the public name.
pub(crate) fn hosts(listening: IpAddr, public: Option<&str>) -> Vec<String> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    hosts.push(listening.to_string());
    if let Some(public) = public {
        let without_port = public.rsplit_once(':').map_or(public, |(host, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { public }
        });
        hosts.push(without_port.trim_matches(['[', ']']).to_owned());
    }
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_name_loses_its_port() {
        let address = IpAddr::from([127, 0, 0, 1]);
        assert!(hosts(address, Some("discord.test:8443")).contains(&"discord.test".to_owned()));
        assert!(hosts(address, Some("discord.test")).contains(&"discord.test".to_owned()));
        assert_eq!(hosts(address, None).len(), 3);
    }

    #[test]
    fn every_authority_is_its_own() {
        let (_, one) = acceptor(&["localhost".to_owned()]).unwrap();
        let (_, two) = acceptor(&["localhost".to_owned()]).unwrap();
        assert!(one.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_ne!(one, two);
    }
}
