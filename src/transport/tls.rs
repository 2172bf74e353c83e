//! TLS with rustls and ring; the provider is passed by hand, because a library must not touch the
//! process-wide default.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::BoxedIo;
use crate::error::{Error, ErrorKind};

/// A connector that trusts the web's roots, or those of a PEM file instead.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, Error> {
    Ok(TlsConnector::from(Arc::new(client_config(ca_file.map(|path| ("ca_file", path)))?)))
}

/// What a client does that trusts the web's roots, or those of the PEM file that this key names instead.
pub(crate) fn client_config(ca_file: Option<(&str, &Path)>) -> Result<ClientConfig, Error> {
    let roots = match ca_file {
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        Some((key, path)) => roots_of_file(key, path)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Unsupported, format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The certificates of a PEM file.
fn roots_of_file(key: &str, path: &Path) -> Result<RootCertStore, Error> {
    let wrong = |why: String| {
        let text = format!("`{key}` {}: {why}", path.display());
        Error::new(ErrorKind::InvalidConfig, text)
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("holds no certificate in PEM form".into()));
    }
    Ok(roots)
}

/// TLS over a stream to `host`.
pub(super) async fn handshake(
    connector: &TlsConnector,
    host: &str,
    stream: BoxedIo,
) -> io::Result<BoxedIo> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} cannot be a TLS server name"))
    })?;
    let stream = connector.connect(name, stream).await.map_err(|error| {
        let hint = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => {
                "; if this server is your own, `ca_file` has to name its certificate authority"
            }
            _ => "",
        };
        io::Error::new(error.kind(), format!("TLS with {host} failed: {error}{hint}"))
    })?;
    Ok(Box::new(stream))
}
