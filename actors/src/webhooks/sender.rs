//! The edge of this crate: what is sent to an endpoint, and the trait that sends it. Lanes decide when; a sender
//! writes the body, signs it and makes one request.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use amoiq_events::{
    EventId, Position, SessionId, TenantId, Timestamp, WebhookId, session::MessageCreated, webhook::Webhook,
};

/// A message as it was read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedMessage {
    /// The id of the event, by which receivers recognise repeats.
    pub event_id: EventId,
    /// The position of the event.
    pub position: Position,
    /// When the event was appended.
    pub time: Timestamp,
    /// The tenant.
    pub tenant: TenantId,
    /// The session.
    pub session: SessionId,
    /// The message.
    pub message: MessageCreated,
}

/// An endpoint as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its id.
    pub id: WebhookId,
    /// Its URL, settings, secrets and status.
    pub webhook: Webhook,
}

/// What is sent to an endpoint.
#[derive(Debug, Clone)]
pub enum WebhookPayload {
    /// `message.created`
    Message(Arc<LoggedMessage>),
    /// `webhook.test`: the endpoint's owner checks whether it works.
    Test {
        /// New for each test.
        event_id: EventId,
        /// When the test was requested.
        time: Timestamp,
    },
}

/// What an endpoint answered, or why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryOutcome {
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// Why it is no success, for people; absent after a success.
    pub error: Option<String>,
    /// For how long the endpoint asks not to be called.
    pub retry_after: Option<Duration>,
    /// The beginning of the body, kept for failures and for tests.
    pub body: Vec<u8>,
}

impl DeliveryOutcome {
    /// Whether the endpoint took the delivery: a 2xx whose body was read to the end.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Sends one delivery to an endpoint, once: no retry, no redirect.
pub trait WebhookSender: Send + Sync + 'static {
    /// Sends and waits for the answer. The caller sets a time limit and may drop the future.
    fn send(
        &self,
        endpoint: Arc<WebhookEndpoint>,
        payload: WebhookPayload,
    ) -> Pin<Box<dyn Future<Output = DeliveryOutcome> + Send + 'static>>;
}
