//! The catalogue: every event there is, with its type string and the current schema version.
//!
//! A type string is written here once and never derived from a Rust name; it outlives every rename.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Ambient, NewEvent,
    node::{NodeEvent, NodeStarted},
    presence::{PresenceEvent, UserOffline, UserOnline},
    session::{
        ConversationClosed, ConversationReopened, ConversationStarted, MessageCreated, SessionEvent,
        SessionStarted, VisitorIdentified,
    },
    tenant::{KeyIssued, KeyRevoked, SessionErased, TenantEvent, TenantSettings},
    webhook::{
        WebhookDisabled, WebhookEvent, WebhookNamed, WebhookRegistered, WebhookSecretRotated, WebhookUpdated,
    },
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// On a `tenant:` stream.
    Tenant(TenantEvent),
    /// On a `session:` stream.
    Session(SessionEvent),
    /// On a `presence:` stream.
    Presence(PresenceEvent),
    /// On a `node:` stream.
    Node(NodeEvent),
}

/// One line of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventType {
    /// The dotted type string.
    pub name: &'static str,
    /// The schema version that is written today; older ones are lifted when read.
    pub schema: u16,
    /// The kind of stream it lives on.
    pub stream: &'static str,
}

/// Who appends, and why: the part of the envelope that the caller knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCause {
    /// The request's id.
    pub causation: Box<str>,
    /// A key's or token's public id, or a part of the service.
    pub actor: Box<str>,
}

impl Event {
    /// Puts the event into its envelope.
    #[must_use]
    pub fn envelope(&self, ambient: &Ambient, cause: &EventCause) -> NewEvent {
        let (kind, data) = self.encode();
        let id = match self {
            Self::Session(SessionEvent::ConversationStarted(started)) => started.conversation_id.into(),
            _ => ambient.event_id(),
        };
        NewEvent {
            id,
            kind: Cow::Borrowed(kind.name),
            schema: kind.schema,
            time: ambient.now(),
            causation: cause.causation.clone(),
            actor: cause.actor.clone(),
            data: data.into(),
        }
    }
}

/// The form of an event type's data in the log.
fn to_json<T: Serialize>(data: &T) -> Vec<u8> {
    // No type of the catalogue has a map with keys that are not texts, or a float: nothing can fail.
    serde_json::to_vec(data).unwrap_or_default()
}

fn from_json<T: DeserializeOwned>(data: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(data)
}

macro_rules! catalogue {
    ($($name:literal $schema:literal $stream:literal => $group:ident($($variant:tt)+) $data:ty;)+) => {
        /// Every type there is.
        pub const CATALOGUE: &[EventType] =
            &[$(EventType { name: $name, schema: $schema, stream: $stream }),+];

        impl Event {
            /// The type of the event and its data as JSON.
            #[must_use]
            pub fn encode(&self) -> (EventType, Vec<u8>) {
                match self {
                    $(catalogue!(@pattern $group $($variant)+ data) => (
                        EventType { name: $name, schema: $schema, stream: $stream },
                        to_json(data),
                    ),)+
                }
            }

            /// Reads data of the current schema; `None` when there is no such type.
            pub(crate) fn decode_current(kind: &str, data: &[u8]) -> Option<Result<Self, serde_json::Error>> {
                match kind {
                    $($name => Some(from_json::<$data>(data).map(|data| {
                        catalogue!(@pattern $group $($variant)+ data)
                    })),)+
                    _ => None,
                }
            }
        }
    };
    (@pattern $group:ident Webhook $variant:ident $data:ident) => {
        Self::$group(TenantEvent::Webhook(WebhookEvent::$variant($data)))
    };
    (@pattern Tenant $variant:ident $data:ident) => { Self::Tenant(TenantEvent::$variant($data)) };
    (@pattern Session $variant:ident $data:ident) => { Self::Session(SessionEvent::$variant($data)) };
    (@pattern Presence $variant:ident $data:ident) => { Self::Presence(PresenceEvent::$variant($data)) };
    (@pattern Node $variant:ident $data:ident) => { Self::Node(NodeEvent::$variant($data)) };
}

catalogue! {
    "tenant.created" 1 "tenant" => Tenant(Created) TenantSettings;
    "tenant.updated" 1 "tenant" => Tenant(Updated) TenantSettings;
    "key.issued" 1 "tenant" => Tenant(KeyIssued) KeyIssued;
    "key.revoked" 1 "tenant" => Tenant(KeyRevoked) KeyRevoked;
    "session.erased" 1 "tenant" => Tenant(SessionErased) SessionErased;
    "webhook.registered" 1 "tenant" => Tenant(Webhook Registered) WebhookRegistered;
    "webhook.updated" 1 "tenant" => Tenant(Webhook Updated) WebhookUpdated;
    "webhook.paused" 1 "tenant" => Tenant(Webhook Paused) WebhookNamed;
    "webhook.resumed" 1 "tenant" => Tenant(Webhook Resumed) WebhookNamed;
    "webhook.disabled" 1 "tenant" => Tenant(Webhook Disabled) WebhookDisabled;
    "webhook.deleted" 1 "tenant" => Tenant(Webhook Deleted) WebhookNamed;
    "webhook.secret_rotated" 1 "tenant" => Tenant(Webhook SecretRotated) WebhookSecretRotated;
    "session.started" 1 "session" => Session(Started) SessionStarted;
    "visitor.identified" 1 "session" => Session(VisitorIdentified) VisitorIdentified;
    "conversation.started" 1 "session" => Session(ConversationStarted) ConversationStarted;
    "message.created" 1 "session" => Session(MessageCreated) MessageCreated;
    "conversation.closed" 1 "session" => Session(ConversationClosed) ConversationClosed;
    "conversation.reopened" 1 "session" => Session(ConversationReopened) ConversationReopened;
    "user.online" 1 "presence" => Presence(Online) UserOnline;
    "user.offline" 1 "presence" => Presence(Offline) UserOffline;
    "node.started" 1 "node" => Node(Started) NodeStarted;
}
