//! What a receiver gets, and that the published library verifies it.

use std::sync::Arc;

use amoiq::webhooks::{delivery_body, signature};
use amoiq_actors::webhooks::{WebhookPayload, WebhookSender};
use amoiq_events::{Ambient, webhook::WebhookSecret};
use amoiq_testkit::receivers::{AfterAnswer, RawReceiver, RawRequest};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use standardwebhooks::Webhook;

use crate::delivery::{SECRET, endpoint, failed, local, message};

const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn verify(request: &RawRequest, secret: &str) -> Result<(), standardwebhooks::WebhookError> {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = HeaderValue::from_str(request.header(name).expect(name)).expect("ASCII");
        headers.insert(HeaderName::from_static(name), value);
    }
    Webhook::new(secret).expect("a secret").verify(&request.body, &headers)
}

#[tokio::test]
async fn a_delivery_is_verified_by_the_published_library() {
    let receiver = RawReceiver::answering(TAKEN, AfterAnswer::Stay).await;
    let content = message("Hello ✓");
    assert!(local().send(Arc::new(endpoint(&receiver.url())), content.clone()).await.is_success());
    let request = receiver.requests().remove(0);
    verify(&request, SECRET).expect("a signature of the secret");
    assert_eq!(request.header("webhook-id"), Some(delivery_body::id(&content).to_string().as_str()));

    let other = signature::new_secret(&Ambient::system());
    assert!(verify(&request, other.expose()).is_err(), "another secret verifies it too");
    let forged = RawRequest { body: [request.body.as_slice(), b" "].concat(), ..request };
    assert!(verify(&forged, SECRET).is_err(), "another body is verified too");
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_verify() {
    let receiver = RawReceiver::answering(TAKEN, AfterAnswer::Stay).await;
    let (old, now) = (signature::new_secret(&Ambient::system()), Ambient::system().now());
    for (until, verifies) in [(now.plus_millis(60_000), true), (now, false)] {
        let mut endpoint = endpoint(&receiver.url());
        endpoint.webhook.previous = Some((old.clone(), until));
        assert!(local().send(Arc::new(endpoint), message("Hello")).await.is_success());
        let request = receiver.requests().pop().expect("the delivery");
        verify(&request, SECRET).expect("a signature of the new secret");
        assert_eq!(verify(&request, old.expose()).is_ok(), verifies);
    }
}

#[tokio::test]
async fn a_request_says_what_it_is_and_nothing_that_was_not_asked_for() {
    let receiver = RawReceiver::answering(TAKEN, AfterAnswer::Stay).await;
    let mut endpoint = endpoint(&receiver.url());
    endpoint.webhook.settings.headers.insert("X-Token".to_owned(), "of the owner".to_owned());
    assert!(local().send(Arc::new(endpoint), message("Hello")).await.is_success());
    let request = receiver.requests().remove(0);
    assert!(request.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", request.head);
    let mut names: Vec<_> = request.head.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
    names.retain(|(name, _)| !name.starts_with("webhook-"));
    names.sort_unstable();
    let (host, length) = (receiver.address.to_string(), request.body.len().to_string());
    let agent = format!("amoiq/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        names,
        [
            ("accept", "*/*"),
            ("content-length", &length),
            ("content-type", "application/json"),
            ("host", &host),
            ("user-agent", &agent),
            ("x-token", "of the owner"),
        ]
    );
}

#[tokio::test]
async fn a_test_is_signed_like_a_message() {
    let receiver = RawReceiver::answering(TAKEN, AfterAnswer::Stay).await;
    let ambient = Ambient::system();
    let content = WebhookPayload::Test { event_id: ambient.event_id(), time: ambient.now() };
    assert!(local().send(Arc::new(endpoint(&receiver.url())), content).await.is_success());
    let request = receiver.requests().remove(0);
    verify(&request, SECRET).expect("a signature of the secret");
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(body["event"], "webhook.test");
}

#[tokio::test]
async fn what_cannot_be_signed_or_sent_is_not_sent() {
    let receiver = RawReceiver::answering(TAKEN, AfterAnswer::Stay).await;
    let mut unsigned = endpoint(&receiver.url());
    unsigned.webhook.secret = WebhookSecret::new("whsec_".to_owned());
    let reason = "nothing can be signed: a webhook's secret is `whsec_` and 24 to 64 bytes in base64";
    assert_eq!(local().send(Arc::new(unsigned), message("Hello")).await, failed(reason));

    let mut forged = endpoint(&receiver.url());
    forged.webhook.settings.headers.insert("Webhook-Id".to_owned(), "another".to_owned());
    let reason = "the header `Webhook-Id` is reserved";
    assert_eq!(local().send(Arc::new(forged), message("Hello")).await, failed(reason));
    assert_eq!(receiver.connections(), 0);
}
