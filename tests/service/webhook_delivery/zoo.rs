//! Badly behaved receivers against the real service: what the list of attempts says about each, and what becomes of
//! their endpoints.
//!
//! One message goes to all receivers of a test at once; none of them may affect another.

use std::{net::SocketAddr, sync::Arc};

use amoiq_events::Timestamp;
use amoiq_testkit::{
    SECRET_KEY, TestApp, eventually,
    receivers::{AfterAnswer, RawReceiver, ReceiverRuntime},
};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::webhook_delivery::endpoint::{Endpoint, start};

/// Longer than the second that reading the body of a failure may take.
const DEADLINE: &str = "attempt_timeout_ms = 5000\nschedule_ms = [0, 3600000]";
const LATE: &str = "no answer within 5000 ms";
const CLOSED: &str = "connection closed before the answer";
const BROKEN: &str = "the answer's body broke off";

/// The beginning of a compressed megabyte.
const BOMB: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xec\xc1\x01\x0d\x00\x00\x00\xc2\xa0\xf7Om\x0e\x37\xa0";

/// A service, and receivers that get one message.
struct Zoo {
    app: TestApp,
    ground: ReceiverRuntime,
    endpoints: Vec<Endpoint>,
    _directory: TempDir,
}

impl Zoo {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let app = start(directory.path(), DEADLINE, "");
        Self { app, ground: ReceiverRuntime::new(), endpoints: Vec::new(), _directory: directory }
    }

    fn add(&mut self, url: &str) {
        self.endpoints.push(Endpoint::make(&self.app, SECRET_KEY, url).0);
    }

    fn answering(&mut self, answer: impl Into<Vec<u8>>, then: AfterAnswer) -> RawReceiver {
        let receiver = self.ground.run(RawReceiver::answering(answer, then));
        self.add(&receiver.url());
        receiver
    }

    /// Sends all of them a message and waits. Returns the status of each delivery and what is listed about its only
    /// attempt.
    fn tell(&self) -> Vec<(String, Value)> {
        self.app.say(SECRET_KEY, "session-of-the-zoo", "Hello");
        let tried = |endpoint: &Endpoint| {
            let newest = || endpoint.deliveries(&self.app).into_iter().next().unwrap_or_default();
            eventually("an attempt was made", || !newest()["attempts"][0].is_null());
            let delivery = newest();
            let status = delivery["status"].as_str().expect("a status").to_owned();
            (status, delivery["attempts"][0].clone())
        };
        self.endpoints.iter().map(tried).collect()
    }
}

/// The part of an attempt that is the same in every run.
fn outcome(attempt: &Value) -> (&Value, &Value, &Value) {
    (&attempt["status"], &attempt["error"], &attempt["answer"])
}

#[test]
fn every_form_of_success_counts_as_success() {
    let mut zoo = Zoo::new();
    let zoo_of = [
        (b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), AfterAnswer::Stay, 204),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil it closes".to_vec(), AfterAnswer::Close, 200),
        (
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
            AfterAnswer::Stay,
            202,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            AfterAnswer::Flood(b"4\r\nmore\r\n"),
            200,
        ),
        (bomb(200), AfterAnswer::Close, 200),
    ];
    let statuses = zoo_of.map(|(answer, then, status)| {
        zoo.answering(answer, then);
        status
    });
    for ((delivery, attempt), status) in zoo.tell().iter().zip(statuses) {
        assert_eq!(delivery, "delivered", "{attempt}");
        assert_eq!(outcome(attempt), (&json!(status), &Value::Null, &Value::Null));
    }
}

#[test]
fn a_failure_status_is_shown_with_the_answer() {
    let mut zoo = Zoo::new();
    let target = zoo.ground.run(RawReceiver::everywhere());
    let port = target.address.port();
    let elsewhere =
        format!("HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n");
    let itself = "HTTP/1.1 307 X\r\nlocation: /hook\r\ncontent-length: 5\r\n\r\nthere";
    let packed = String::from_utf8_lossy(BOMB).into_owned();
    let zoo_of = [
        (elsewhere.into_bytes(), AfterAnswer::Stay, 302, "HTTP 302: redirects are not followed", None),
        (itself.into(), AfterAnswer::Stay, 307, "HTTP 307: redirects are not followed", Some("there")),
        ("HTTP/1.1 304 X\r\n\r\n".into(), AfterAnswer::Silence, 304, "HTTP 304", None),
        (bomb(500), AfterAnswer::Close, 500, "HTTP 500", Some(packed.as_str())),
        (
            "HTTP/1.1 502 X\r\ncontent-length: 9\r\n\r\nhalf".into(),
            AfterAnswer::Close,
            502,
            "HTTP 502",
            Some("half"),
        ),
        (
            "HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nhalf".into(),
            AfterAnswer::Close,
            200,
            BROKEN,
            Some("half"),
        ),
    ];
    let mut receivers = Vec::new();
    let expected = zoo_of.map(|(answer, then, status, error, said)| {
        receivers.push(zoo.answering(answer, then));
        (json!(status), json!(error), json!(said))
    });
    for ((delivery, attempt), (status, error, said)) in zoo.tell().iter().zip(&expected) {
        assert_eq!(delivery, "pending", "{attempt}");
        assert_eq!(outcome(attempt), (status, error, said));
    }
    assert_eq!(target.connections(), 0, "a redirect was followed");
    assert!(receivers.iter().all(|receiver| receiver.requests().len() == 1), "it was called twice");
}

#[test]
fn missing_answers_are_distinguished_by_their_cause() {
    let mut zoo = Zoo::new();
    let slow = "HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n";
    let zoo_of = [
        ("HTTP/1.1 200 OK\r\ncontent-", AfterAnswer::Close, CLOSED),
        ("HTTP/1.1 200 OK\r\ncontent-", AfterAnswer::Silence, LATE),
        (slow, AfterAnswer::Drip(b"x"), LATE),
        ("", AfterAnswer::Drip(b"HTTP/1.1 100 Continue\r\n\r\n"), LATE),
        ("HTTP/1.1 100 Continue\r\n\r\n", AfterAnswer::Close, CLOSED),
        ("SSH-2.0-OpenSSH_9.6\r\n", AfterAnswer::Silence, "the answer cannot be read as HTTP/1"),
    ];
    let mut errors = zoo_of
        .map(|(answer, then, error)| {
            zoo.answering(answer, then);
            error
        })
        .to_vec();
    let at_once = zoo.ground.run(closing_at_once());
    zoo.add(&format!("http://{at_once}/"));
    let nobody = zoo.ground.run(async { free().await.local_addr().expect("bound") });
    zoo.add(&format!("http://{nobody}/"));
    let port = zoo.ground.run(with_a_certificate_of_nobody()).port();
    zoo.add(&format!("https://127.0.0.1:{port}/"));
    errors.extend([CLOSED, "connection refused", "TLS: invalid peer certificate: UnknownIssuer"]);
    for ((delivery, attempt), error) in zoo.tell().iter().zip(errors) {
        assert_eq!(delivery, "pending", "{attempt}");
        assert_eq!(outcome(attempt), (&Value::Null, &json!(error), &Value::Null));
    }
}

#[test]
fn an_endpoint_that_is_gone_is_disabled_and_its_message_waits() {
    let mut zoo = Zoo::new();
    let receiver = zoo.answering("HTTP/1.1 410 Gone\r\ncontent-length: 5\r\n\r\nbye!\n", AfterAnswer::Stay);
    let drips = zoo.answering("HTTP/1.1 410 Gone\r\n\r\n", AfterAnswer::Drip(b"x"));
    for ((delivery, attempt), endpoint) in zoo.tell().iter().zip(&zoo.endpoints) {
        assert_eq!((delivery.as_str(), &attempt["error"]), ("pending", &json!("HTTP 410")));
        eventually("it is disabled", || endpoint.read(&zoo.app)["status"] == "disabled");
        assert_eq!(endpoint.read(&zoo.app)["disabledReason"], "the endpoint answered 410 Gone");
    }
    assert_eq!((receiver.requests().len(), drips.requests().len()), (1, 1));
    zoo.app.say(SECRET_KEY, "session-of-the-zoo", "Is anybody there?");
    assert_eq!(zoo.endpoints[0].deliveries(&zoo.app).len(), 1, "it is served although it is disabled");
}

#[test]
fn an_endpoint_that_asks_for_time_is_not_called_meanwhile() {
    let mut zoo = Zoo::new();
    let zoo_of = [
        (429, "600", 600),
        (503, "31536000", 86_400),
        (429, "Fri, 31 Dec 2100 23:59:59 GMT", 86_400),
        (503, "Friday, 31-Dec-99 23:59:59 GMT", 0),
    ];
    let seconds = zoo_of.map(|(status, after, seconds)| {
        let head = format!("HTTP/1.1 {status} Later\r\nretry-after: {after}\r\ncontent-length: 0\r\n\r\n");
        zoo.answering(head, AfterAnswer::Stay);
        seconds
    });
    for (((_, attempt), endpoint), seconds) in zoo.tell().iter().zip(&zoo.endpoints).zip(seconds) {
        let millis = |value: &Value| value.as_str().and_then(Timestamp::parse).map(Timestamp::as_millis);
        let shown = endpoint.read(&zoo.app);
        let not_before = millis(&shown["standing"]["notBefore"]);
        if seconds == 0 {
            assert_eq!(not_before, None, "{shown}");
            continue;
        }
        let wait_ms = not_before.expect("a moment") - millis(&attempt["at"]).expect("a moment");
        let took_ms = attempt["durationMs"].as_i64().expect("a number");
        // The wait starts at the answer.
        let most_ms = seconds * 1_000 + took_ms + 30_000;
        assert!((seconds * 1_000..=most_ms).contains(&wait_ms), "{wait_ms} ms of {seconds} s: {attempt}");
        assert_eq!(shown["status"], "enabled");
    }
}

/// An answer that is small unless somebody decompresses it.
fn bomb(status: u16) -> Vec<u8> {
    let length = BOMB.len();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), BOMB].concat()
}

async fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

async fn closing_at_once() -> SocketAddr {
    let listener = free().await;
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    address
}

async fn with_a_certificate_of_nobody() -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
        .expect("a server");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = free().await;
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { drop(acceptor.accept(stream).await) });
        }
    });
    address
}
