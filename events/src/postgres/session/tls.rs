//! Encryption on the way to the server: its certificate must be signed by an authority that is known, for the name in
//! the address.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::postgres::{open_error::PostgresOpenError, server_address::ServerAddress};

/// What makes encrypted connections to these servers.
pub(crate) fn connector(server: &ServerAddress) -> Result<MakeRustlsConnect, PostgresOpenError> {
    let is_needed = server.hosts.iter().any(|host| host.get_ssl_mode() == SslMode::Require);
    let roots = if is_needed { authorities(server)? } else { RootCertStore::empty() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| PostgresOpenError::Authorities(error.to_string()))?;
    Ok(MakeRustlsConnect::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn authorities(server: &ServerAddress) -> Result<RootCertStore, PostgresOpenError> {
    let mut roots = RootCertStore::empty();
    match &server.authorities {
        Some(file) => {
            let failed =
                |reason: String| PostgresOpenError::Authorities(format!("{}: {reason}", file.display()));
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(PostgresOpenError::Authorities("there are none".to_owned()));
    }
    Ok(roots)
}
