//! Who vouches for the certificates of endpoints: the authorities of the machine, or those of the file that
//! `SSL_CERT_FILE` names. There is no way to turn the check off.

use rustls::RootCertStore;

/// The authorities of the machine. Without any, every `https` endpoint is refused and a log line says so.
#[must_use]
pub fn of_system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates of authorities cannot be read");
    }
    let mut authorities = RootCertStore::empty();
    let (added, _unreadable) = authorities.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "no certificate authorities were found, so no https webhook can be delivered: \
             install them, or name a file with SSL_CERT_FILE"
        );
    }
    authorities
}
