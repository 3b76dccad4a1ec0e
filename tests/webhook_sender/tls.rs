//! Receivers with certificates: of a trusted authority, of an unknown one, for another name.

use std::{io::Write, process::Command, sync::Arc};

use amoiq::webhooks::{HttpSender, vetting_resolver::SystemLookup};
use amoiq_events::Ambient;
use amoiq_testkit::receivers::{AfterAnswer, RawReceiver};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::delivery::{Answers, deliver, destinations, sender};

const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Tells the process that the last test starts where to deliver to.
const PORT: &str = "AMOIQ_COURIER_TEST_PORT";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn trusted(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(self.0.der().clone()).expect("an authority");
        store
    }

    /// Serves with a certificate for `name`. Returns the port.
    async fn serve(&self, name: &str) -> u16 {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
            })
            .expect("a server");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        // Serves the requests that are decrypted here.
        let receiver = RawReceiver::answering("", AfterAnswer::Close).await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, receiver) = (acceptor.clone(), receiver.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _broken = receiver.serve(stream, TAKEN, AfterAnswer::Close).await;
                });
            }
        });
        port
    }
}

fn trusting(authorities: RootCertStore) -> HttpSender {
    sender(Answers::new(&[&["127.0.0.1"]]), authorities, &["127.0.0.0/8"])
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_for_this_name_is_delivered_to() {
    let authority = Authority::new("an authority");
    let port = authority.serve("endpoint.example").await;
    let answer = deliver(&trusting(authority.trusted()), &format!("https://endpoint.example:{port}/")).await;
    assert!(answer.is_success(), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_of_nobody_or_for_another_name_is_refused() {
    let authority = Authority::new("an authority");
    let port = authority.serve("endpoint.example").await;
    let strangers = trusting(Authority::new("a stranger").trusted());
    let own = trusting(authority.trusted());
    for (sender, name, reason) in [
        (&strangers, "endpoint.example", "invalid peer certificate: UnknownIssuer"),
        (&own, "other.example", "invalid peer certificate: certificate not valid for name \"other.example\""),
    ] {
        let answer = deliver(sender, &format!("https://{name}:{port}/")).await;
        let error = answer.error.expect("a refusal");
        assert_eq!(error, format!("TLS: {reason}"), "what else the certificate is for is not told");
        assert_eq!(answer.status, None);
    }
}

#[tokio::test]
async fn who_speaks_no_tls_is_refused() {
    let receiver = RawReceiver::answering("", AfterAnswer::Close).await;
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = plain.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _broken = tokio::io::AsyncWriteExt::write_all(&mut stream, TAKEN).await;
        }
    });
    let answer =
        deliver(&trusting(RootCertStore::empty()), &format!("https://endpoint.example:{port}/")).await;
    let error = answer.error.expect("a refusal");
    assert!(error.starts_with("TLS: "), "{error}");
    assert_eq!(receiver.connections(), 0);
}

/// The second half runs in its own process, because the environment belongs to the whole process.
#[tokio::test]
async fn the_authorities_are_those_of_ssl_cert_file() {
    if let Ok(port) = std::env::var(PORT) {
        let local = destinations(&["127.0.0.0/8", "::1/128"]);
        let sender = HttpSender::new(local, Ambient::system()).expect("a sender");
        let answer = deliver(&sender, &format!("https://localhost:{port}/")).await;
        assert!(answer.is_success(), "{answer:?}");
        return;
    }
    let authority = Authority::new("an authority");
    let port = authority.serve("localhost").await;
    let unknown = sender(Arc::new(SystemLookup), RootCertStore::empty(), &["127.0.0.0/8", "::1/128"]);
    let error = deliver(&unknown, &format!("https://localhost:{port}/")).await.error.expect("a refusal");
    assert!(error.starts_with("TLS: "), "{error}");

    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(authority.0.pem().as_bytes()).expect("written");
    let mut child = Command::new(std::env::current_exe().expect("this test"));
    child.args(["--exact", "tls::the_authorities_are_those_of_ssl_cert_file"]);
    child.env("SSL_CERT_FILE", file.path()).env_remove("SSL_CERT_DIR").env(PORT, port.to_string());
    let running = tokio::task::spawn_blocking(move || child.output().expect("the same test"));
    let ran = running.await.expect("no panic");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}
