//! Senders of messages: one message after the other, and again when there was no answer.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use amoiq_events::ambient::SeededEntropy;
use amoiq_testkit::http_client;
use serde_json::{Value, json};

use super::{ENDPOINTS, TENANTS, Tenant, delivered, widget_key};

/// What all senders share.
pub struct Plan {
    messages: usize,
    sessions: usize,
    pub acknowledged: AtomicUsize,
    /// The program has ended: nobody waits for deliveries.
    pub is_killed: AtomicBool,
    /// How many messages may be undelivered, so that the kills come amid deliveries.
    lead: usize,
}

impl Plan {
    pub fn new(messages: usize, sessions: usize) -> Self {
        let lead = (messages / 20).max(200);
        Self {
            messages,
            sessions,
            acknowledged: AtomicUsize::new(0),
            is_killed: AtomicBool::new(false),
            lead,
        }
    }

    pub fn sent(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until enough is delivered for the next message.
    fn wait_for_deliveries(&self, tenants: &[Tenant]) {
        let wanted = self.sent().saturating_sub(self.lead) * ENDPOINTS / TENANTS;
        while delivered(tenants) < wanted && !self.is_killed.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A message as its sender knows it.
pub struct Message {
    pub tenant: usize,
    pub session: String,
    pub text: String,
    /// From the answer; `None` while there is none.
    pub id: Option<String>,
}

/// A sender.
pub struct Sender {
    number: usize,
    dice: SeededEntropy,
    /// In order. Only the last message can be without an answer.
    pub sent: Vec<Message>,
}

impl Sender {
    pub fn new(number: usize, seed: u64) -> Self {
        Self { number, dice: SeededEntropy::new(seed), sent: Vec::new() }
    }

    /// Sends until the program has ended or everything is sent.
    pub fn send(&mut self, address: &str, plan: &Plan, tenants: &[Tenant]) {
        let client = http_client();
        loop {
            if self.sent.last().is_none_or(|last| last.id.is_some()) {
                if plan.sent() >= plan.messages {
                    return;
                }
                self.sent.push(self.next(plan.sessions));
            }
            plan.wait_for_deliveries(tenants);
            let message = self.sent.last_mut().expect("just made");
            let (session, text) = (&message.session, &message.text);
            let body = json!({"sessionId": session, "text": text, "clientMessageId": text.replace(' ', "-")});
            let sending = client.post(format!("{address}/webchat/message"));
            let sending = sending.bearer_auth(widget_key(message.tenant)).json(&body);
            let Ok(response) = sending.send() else { return };
            let status = response.status();
            let Ok(answer) = response.json::<Value>() else { return };
            if answer["code"] == "STORE_UNAVAILABLE" {
                // The disk took longer than the service waits, so it is unknown whether the message is stored: it is
                // sent again.
                thread::sleep(Duration::from_millis(5));
                continue;
            }
            assert_eq!(status, 200, "{answer}");
            message.id = Some(answer["messageId"].as_str().expect("an id").to_owned());
            plan.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next(&self, sessions: usize) -> Message {
        let place = usize::try_from(self.dice.next() % 1_000_000).expect("fits") % sessions;
        let text = format!("sender {} message {}", self.number, self.sent.len());
        Message { tenant: place % TENANTS, session: session(place), text, id: None }
    }
}

/// The name of a session; each tenant has its own of this name.
pub fn session(place: usize) -> String {
    format!("chaos-session-{}", place / TENANTS)
}
