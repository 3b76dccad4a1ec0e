//! A sender, an endpoint and a message for tests.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use amoiq::webhooks::{
    DestinationPolicy, HttpSender,
    vetting_resolver::{LookupFuture, NameLookup, SystemLookup},
};
use amoiq_actors::webhooks::{
    DeliveryOutcome, LoggedMessage, WebhookEndpoint, WebhookPayload, WebhookSender,
};
use amoiq_events::{
    Ambient, MessageText, Position, SessionId, TenantId, WebhookId,
    envelope::RecordedAt,
    session::{MessageCreated, MessageSender},
    tenant::ManagedBy,
    webhook::{Webhook, WebhookSecret, WebhookSettings, WebhookStatus},
};
use rustls::RootCertStore;

/// The time limit for an answer that has to come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The secret that signs the deliveries of these tests.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A sender with the default policy, which refuses loopback.
pub fn guarded() -> HttpSender {
    opened(&[])
}

/// A sender that may deliver to these networks, too.
pub fn opened(networks: &[&str]) -> HttpSender {
    sender(Arc::new(SystemLookup), RootCertStore::empty(), networks)
}

/// A sender that may deliver to all of loopback.
pub fn local() -> HttpSender {
    opened(&["127.0.0.0/8"])
}

pub fn sender(lookup: Arc<dyn NameLookup>, authorities: RootCertStore, networks: &[&str]) -> HttpSender {
    HttpSender::with(lookup, authorities, destinations(networks), Ambient::system()).expect("a sender")
}

pub fn destinations(networks: &[&str]) -> DestinationPolicy {
    let networks: Vec<_> = networks.iter().map(|network| network.parse().expect("a network")).collect();
    DestinationPolicy::new(&networks)
}

pub fn endpoint(url: &str) -> WebhookEndpoint {
    let settings = WebhookSettings {
        url: url.to_owned(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: BTreeMap::new(),
        rate_per_second: None,
    };
    let webhook = Webhook {
        settings,
        secret: WebhookSecret::new(SECRET.to_owned()),
        previous: None,
        status: WebhookStatus::Enabled,
        source: ManagedBy::Api,
        registered: RecordedAt::default(),
    };
    WebhookEndpoint {
        tenant: TenantId::parse("tenant-123").expect("an id"),
        id: WebhookId::parse("wh-1").expect("an id"),
        webhook,
    }
}

pub fn message(text: &str) -> WebhookPayload {
    let ambient = Ambient::system();
    let message = MessageCreated {
        message_id: ambient.message_id(),
        seq: 1,
        text: MessageText::parse(text, 100).expect("a text"),
        sender: MessageSender::User,
        author: None,
        user_id: None,
        verified: None,
        claimed_user_id: None,
        sender_name: None,
        client_message_id: None,
        client_timestamp: None,
        page: None,
        conversation_id: None,
    };
    WebhookPayload::Message(Arc::new(LoggedMessage {
        event_id: ambient.event_id(),
        position: Position::default(),
        time: ambient.now(),
        tenant: TenantId::parse("tenant-123").expect("an id"),
        session: SessionId::parse("session-456").expect("an id"),
        message,
    }))
}

/// Delivers a message and waits for the answer, which has to come.
pub async fn deliver(sender: &HttpSender, url: &str) -> DeliveryOutcome {
    within(PATIENCE, sender, url).await.unwrap_or_else(|| panic!("{url}: there is no answer"))
}

/// Delivers a message; `None` when there is no answer within the time limit.
pub async fn within(deadline: Duration, sender: &HttpSender, url: &str) -> Option<DeliveryOutcome> {
    tokio::time::timeout(deadline, sender.send(Arc::new(endpoint(url)), message("Hello"))).await.ok()
}

/// The outcome of an attempt without an answer.
pub fn failed(error: &str) -> DeliveryOutcome {
    DeliveryOutcome { error: Some(error.to_owned()), ..DeliveryOutcome::default() }
}

pub fn refused(address: &str) -> DeliveryOutcome {
    failed(&format!("refused address {address}; see webhooks.allowed_networks"))
}

/// The outcome when the name has a refused address. The owner is not told which one.
pub fn refused_name() -> DeliveryOutcome {
    failed("refused address of this name; see webhooks.allowed_networks")
}

/// Waits until a condition is true.
pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
}

/// Name servers that give prepared answers, one for each lookup, and repeat the last one.
pub struct Answers {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Answers {
    pub fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |addresses: &&[&str]| -> Vec<IpAddr> {
            addresses.iter().map(|address| address.parse().expect("an address")).collect()
        };
        let answers = answers.iter().rev().map(parse).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }

    /// The number of lookups.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl NameLookup for Answers {
    fn lookup(&self, _: String) -> LookupFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("nobody panicked");
        let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}
