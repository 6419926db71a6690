//! Certificates: what each end of a connection shows, and whom it believes.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{CustodySettings, LinkSettings, TlsFiles};
use crate::data_dir;
use crate::failure::{Advise as _, advised};

/// Both ends of a link are of one make.
const LINK_VERSIONS: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// An endpoint that anybody may connect to.
pub(crate) fn server(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth();
    let config = builder.with_single_cert(chain(&files.certificate)?, private_key(files)?);
    served(config, files)
}

/// The key daemon's end of a link: stores show certificates of one authority.
pub(crate) fn link_server(link: &LinkSettings) -> anyhow::Result<ServerConfig> {
    let roots = Arc::new(authority(&link.client_ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .context("the certificates of stores cannot be verified")
        .advise("name the certificate of the authority in `link.tls_client_ca`")?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&LINK_VERSIONS)?
        .with_client_cert_verifier(verifier);
    let config = builder.with_single_cert(chain(&link.tls.certificate)?, private_key(&link.tls)?);
    let mut config = served(config, &link.tls)?;
    // Each connection shows its certificate anew.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The store's end of a link.
pub(crate) fn link_client(custody: &CustodySettings) -> anyhow::Result<ClientConfig> {
    let files = &custody.tls;
    let key = data_dir::read_secret(&files.private_key)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .with_context(|| {
            format!(
                "cannot read the private key in {}",
                files.private_key.display()
            )
        })
        .advise(NAME_KEY)?;
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&LINK_VERSIONS)?
        .with_root_certificates(authority(&custody.ca)?)
        .with_client_auth_cert(chain(&files.certificate)?, key)
        .with_context(|| apart(files))
        .advise(NAME_RIGHT_KEY)
}

const NAME_CERTIFICATE: &str =
    "name a PEM file with the certificate, and those between it and the root";
const NAME_KEY: &str = "name a PEM file with the key of the certificate, without a passphrase";
const NAME_RIGHT_KEY: &str = "name the key that the certificate was issued for";

fn served(
    config: Result<ServerConfig, rustls::Error>,
    files: &TlsFiles,
) -> anyhow::Result<ServerConfig> {
    let mut config = config
        .with_context(|| apart(files))
        .advise(NAME_RIGHT_KEY)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn apart(files: &TlsFiles) -> String {
    format!(
        "the private key in {} does not go with the certificate in {}",
        files.private_key.display(),
        files.certificate.display()
    )
}

fn chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("cannot read the certificates in {}", path.display()))
        .advise(NAME_CERTIFICATE)?;
    if chain.is_empty() {
        return Err(advised(
            anyhow!("there is no certificate in {}", path.display()),
            NAME_CERTIFICATE,
        ));
    }
    Ok(chain)
}

fn private_key(files: &TlsFiles) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(&files.private_key)
        .with_context(|| {
            format!(
                "cannot read the private key in {}",
                files.private_key.display()
            )
        })
        .advise(NAME_KEY)
}

/// The one authority that is believed.
fn authority(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots
            .add(certificate)
            .with_context(|| format!("{} holds no certificate of an authority", path.display()))
            .advise("name a PEM file with the certificate of the authority")?;
    }
    Ok(roots)
}
