//! The way to a server is encrypted, and the server has to prove its name.

use std::fs;

use amoiq_events::{
    Ambient, EventLog, Version,
    store::{
        ExpectedVersion, LogMaintenance,
        kurrentdb::{KurrentOptions, KurrentStore},
    },
};
use amoiq_testkit::KurrentServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::given::{connect_kurrent, events, numbers, stream, whole_log, within};

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_has_to_prove_its_name() {
    let (trusted, unknown) = (authority("trusted"), authority("unknown"));
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &trusted).expect("a certificate");
    let server = KurrentServer::start_encrypted(&certificate.pem(), &key.serialize_pem());

    let directory = tempfile::tempdir().expect("a directory");
    let address = |host: &str, authority: &CertifiedIssuer<'static, KeyPair>| {
        let file = directory.path().join("ca.pem");
        fs::write(&file, authority.pem()).expect("written");
        KurrentOptions::new(&format!(
            "esdb://{host}:{}?tls=true&tlsCaFile={}",
            server.port(0),
            file.display()
        ))
    };
    let refused = [("localhost", &unknown, "UnknownIssuer"), ("127.0.0.1", &trusted, "not valid for name")];
    for (host, authority, reason) in refused {
        let opened = KurrentStore::open(&address(host, authority), &Ambient::system());
        let error = opened.err().expect("it is refused").to_string();
        assert!(error.contains(reason), "{error}");
    }

    let store = connect_kurrent(&address("localhost", &trusted));
    within(store.append(stream("a"), ExpectedVersion::NoStream, events(1..=2))).await.expect("appended");
    // The metadata are set by the client, over a connection of its own.
    within(store.truncate(stream("a"), Version::from_u64(2))).await.expect("truncated");
    assert_eq!(numbers(&whole_log(&store).await), [2]);
    let open = KurrentOptions::new(&format!("esdb://127.0.0.1:{}?tls=false", server.port(0)));
    assert!(KurrentStore::open(&open, &Ambient::system()).is_err());
}
