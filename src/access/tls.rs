//! TLS from PEM files: what servers and clients of both kinds, HTTP and gRPC, need.
//!
//! Files are read and understood here first, so that an error names the file; the libraries below
//! would only say that a handshake failed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use super::door::TlsFiles;
use crate::error::{Error, Result};

/// As long as the HTTP server gives it.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Makes ring the process's cryptography, as everything in the tree has it. Call it before any TLS;
/// more than once does no harm.
pub fn install_crypto() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("cryptography was chosen before");
    }
}

/// TLS of an HTTP/1.1 server.
///
/// # Errors
/// Names the file that is missing or not what it should be.
pub fn tls_for_axum(
    files: &TlsFiles,
    client_ca: Option<&Path>,
) -> Result<axum_server::tls_rustls::RustlsConfig> {
    let mut config = server_config(files, client_ca)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(config)))
}

/// TLS of a gRPC server.
///
/// # Errors
/// As [`tls_for_axum`].
pub fn tls_for_tonic(files: &TlsFiles, client_ca: Option<&Path>) -> Result<ServerTlsConfig> {
    server_config(files, client_ca)?;
    let config = ServerTlsConfig::new().identity(identity(files)?).timeout(HANDSHAKE_MAX);
    Ok(match client_ca {
        Some(ca) => config.client_ca_root(Certificate::from_pem(read(ca)?)),
        None => config,
    })
}

/// TLS of a gRPC client: it trusts `ca`, or what the machine trusts, and shows `own` where a
/// server asks for a certificate.
///
/// # Errors
/// As [`tls_for_axum`].
pub fn tls_client(ca: Option<&Path>, own: Option<&TlsFiles>) -> Result<ClientTlsConfig> {
    install_crypto();
    let mut config = match ca {
        Some(ca) => {
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificate_authority(ca)?))
        }
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some(own) = own {
        certificates(&own.cert)?;
        private_key(&own.key)?;
        config = config.identity(identity(own)?);
    }
    Ok(config)
}

/// The PEM text of a file with at least one certificate that a client may trust.
///
/// # Errors
/// As [`tls_for_axum`].
pub fn certificate_authority(path: &Path) -> Result<Vec<u8>> {
    roots(path)?;
    read(path)
}

fn server_config(files: &TlsFiles, client_ca: Option<&Path>) -> Result<rustls::ServerConfig> {
    install_crypto();
    let builder = rustls::ServerConfig::builder();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(ca)?)).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| bad(ca, &error))?)
        }
    };
    let chain = certificates(&files.cert)?;
    let key = private_key(&files.key)?;
    builder.with_single_cert(chain, key).map_err(|error| {
        let (cert, key) = (files.cert.display(), files.key.display());
        Error::bad_job(format!("{cert} and {key} are no certificate with its key: {error}"))
    })
}

fn identity(files: &TlsFiles) -> Result<Identity> {
    Ok(Identity::from_pem(read(&files.cert)?, read(&files.key)?))
}

fn roots(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| bad(path, &error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| bad(path, &error))?;
    match chain.is_empty() {
        true => Err(bad(path, &"there is no certificate in it")),
        false => Ok(chain),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| {
        Error::bad_job(format!("{}: this is no private key in PEM: {error}", path.display()))
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::bad_job(format!("{}: the file cannot be read: {error}", path.display()))
    })
}

fn bad(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::bad_job(format!("{}: these are no certificates in PEM: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let cert = file("cert.pem", &made.cert.pem());
        let key = file("key.pem", &made.signing_key.serialize_pem());
        let foreign = file("foreign.pem", &other.signing_key.serialize_pem());
        let empty = file("empty.pem", "no PEM");
        let missing = folder.path().join("missing.pem");
        let files = |cert: &Path, key: &Path| TlsFiles { cert: cert.into(), key: key.into() };

        let good = files(&cert, &key);
        tls_for_axum(&good, None).unwrap();
        tls_for_tonic(&good, Some(&cert)).unwrap();
        tls_client(Some(&cert), Some(&good)).unwrap();
        for (bad, named, said) in [
            (files(&missing, &key), "missing.pem", "cannot be read"),
            (files(&empty, &key), "empty.pem", "no certificate in it"),
            (files(&cert, &empty), "empty.pem", "no private key"),
            (files(&cert, &foreign), "foreign.pem", "no certificate with its key"),
        ] {
            let error = tls_for_tonic(&bad, None).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains(said), "{error}");
        }
        let error = tls_client(Some(&key), None).unwrap_err().to_string();
        assert!(error.contains("key.pem: these are no certificates"), "{error}");
    }
}
