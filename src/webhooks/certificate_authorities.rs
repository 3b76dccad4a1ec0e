//! The authorities that endpoints' certificates are checked against: those of the machine, or those in the file that
//! `SSL_CERT_FILE` names. The check cannot be turned off.

use rustls::RootCertStore;

/// The authorities of the machine. If there are none, every `https` endpoint is refused, and a log line says so.
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
