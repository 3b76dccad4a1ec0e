//! What is delivered, and who carries it. Lanes decide when; a courier puts it into its form, signs it
//! and sends it, once.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use amoiq_events::{
    EventId, Position, SessionId, TenantId, Timestamp, WebhookId, session::MessageCreated, webhook::Webhook,
};

/// A message as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Of the event: what receivers recognise repeats by.
    pub event_id: EventId,
    /// Of the event.
    pub position: Position,
    /// When it was appended.
    pub time: Timestamp,
    /// Whose.
    pub tenant: TenantId,
    /// Where.
    pub session: SessionId,
    /// What.
    pub message: MessageCreated,
}

/// An endpoint as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose.
    pub tenant: TenantId,
    /// Its id.
    pub id: WebhookId,
    /// Where and how, its secrets, whether it is served.
    pub webhook: Webhook,
}

/// What an endpoint is told.
#[derive(Debug, Clone)]
pub enum Content {
    /// `message.created`
    Message(Arc<Announcement>),
    /// `webhook.test`: its owner wants to see whether it works.
    Test {
        /// New for each test.
        event_id: EventId,
        /// When it was asked for.
        time: Timestamp,
    },
}

/// What an endpoint answered, or why it did not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// Why it is no success, for people; absent after a success.
    pub error: Option<String>,
    /// How long it asks not to be called.
    pub retry_after: Option<Duration>,
    /// The beginning of its body, kept for failures and for what an owner tests.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether it took the delivery: a 2xx that was read to its end.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Carries one delivery to an endpoint, once: no retry, no redirect.
pub trait Courier: Send + Sync + 'static {
    /// Sends and waits for the answer. Whoever calls gives it a deadline and may drop it.
    fn deliver(
        &self,
        endpoint: Arc<Endpoint>,
        content: Content,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'static>>;
}
