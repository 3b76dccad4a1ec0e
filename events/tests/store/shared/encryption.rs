//! The way to a server is encrypted, and the server has to prove its name.

use std::fs;

use amoiq_events::{
    Ambient, EventLog,
    store::{
        ExpectedVersion,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use amoiq_testkit::PostgresServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::given::{connect, events, stream, within};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_to_prove_its_name() {
    let (trusted, unknown) = (authority("trusted"), authority("unknown"));
    let server = PostgresServer::start();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &trusted).expect("a certificate");
    server.put_file("server.crt", &certificate.pem());
    server.put_file("server.key", &key.serialize_pem());
    server.set("ssl", "on");

    let directory = tempfile::tempdir().expect("a directory");
    let address = |host: &str, authority: &CertifiedIssuer<'static, KeyPair>| {
        let file = directory.path().join("ca.pem");
        fs::write(&file, authority.pem()).expect("written");
        let options = format!("sslmode=verify-full&sslrootcert={}", file.display());
        PostgresOptions::new(&format!("postgres://amoiq@{host}:{}/postgres?{options}", server.port()))
    };
    let refused = [("localhost", &unknown, "UnknownIssuer"), ("127.0.0.1", &trusted, "not valid for name")];
    for (host, authority, reason) in refused {
        let opened = PostgresStore::open(&address(host, authority), &Ambient::system());
        let error = opened.err().expect("it is refused").to_string();
        assert!(error.contains(reason), "{error}");
    }

    let store = connect(&address("localhost", &trusted));
    within(store.append(stream("a"), ExpectedVersion::NoStream, events(1..=2))).await.expect("appended");
    within(store.event_at(store.head())).await.expect("read");
    let open = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'amoiq'";
    assert_eq!(server.ask(open), "t", "every connection is encrypted");
}
