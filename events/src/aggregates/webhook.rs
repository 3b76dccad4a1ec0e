//! A webhook endpoint of a tenant. Its events live on the tenant's stream.
//!
//! An endpoint that is paused or disabled keeps its place in the log, so that enabling it again
//! loses nothing. Deleting it is final: its id is never used again.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::managed_by::ManagedBy;
use crate::{Timestamp, WebhookId, envelope::RecordedAt};

mod change;

pub use change::WebhookChange;

/// The key that signs deliveries, as `whsec_` and base64. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookSecret(String);

impl WebhookSecret {
    /// Takes a secret as it is stored.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret, for signing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}

/// Where an endpoint receives deliveries, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSettings {
    /// The address.
    pub url: String,
    /// The event types it receives, such as `message.created`.
    pub events: Vec<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Sent with each delivery.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// At most so many deliveries a second; absent is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
}

/// `webhook.registered`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookRegistered {
    /// The endpoint.
    pub webhook_id: WebhookId,
    /// Where and how.
    #[serde(flatten)]
    pub settings: WebhookSettings,
    /// Signs its deliveries.
    pub secret: WebhookSecret,
    /// Who manages it.
    pub source: ManagedBy,
}

/// `webhook.updated`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookUpdated {
    /// The endpoint.
    pub webhook_id: WebhookId,
    /// All of the settings as they are now.
    #[serde(flatten)]
    pub settings: WebhookSettings,
}

/// `webhook.paused`, `webhook.resumed` and `webhook.deleted` only name the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookNamed {
    /// The endpoint.
    pub webhook_id: WebhookId,
}

/// `webhook.disabled`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDisabled {
    /// The endpoint.
    pub webhook_id: WebhookId,
    /// Why, for people.
    pub reason: String,
}

/// `webhook.secret_rotated`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSecretRotated {
    /// The endpoint.
    pub webhook_id: WebhookId,
    /// Signs from now on.
    pub secret: WebhookSecret,
    /// Until then the previous secret signs too; absent: it no longer signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Timestamp>,
}

/// What happened to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookEvent {
    /// `webhook.registered`
    Registered(WebhookRegistered),
    /// `webhook.updated`
    Updated(WebhookUpdated),
    /// `webhook.paused`
    Paused(WebhookNamed),
    /// `webhook.resumed`
    Resumed(WebhookNamed),
    /// `webhook.disabled`
    Disabled(WebhookDisabled),
    /// `webhook.deleted`
    Deleted(WebhookNamed),
    /// `webhook.secret_rotated`
    SecretRotated(WebhookSecretRotated),
}

impl WebhookEvent {
    /// The endpoint it is about.
    #[must_use]
    pub fn webhook_id(&self) -> &WebhookId {
        match self {
            Self::Registered(event) => &event.webhook_id,
            Self::Updated(event) => &event.webhook_id,
            Self::Paused(event) | Self::Resumed(event) | Self::Deleted(event) => &event.webhook_id,
            Self::Disabled(event) => &event.webhook_id,
            Self::SecretRotated(event) => &event.webhook_id,
        }
    }
}

/// Whether an endpoint is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookStatus {
    /// It is.
    Enabled,
    /// Its owner stopped it for now.
    Paused,
    /// It failed for too long, said that it is gone, or an operator stopped it.
    Disabled {
        /// Why, for people.
        reason: String,
    },
}

impl WebhookStatus {
    /// The status as its owner and operators are shown it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Disabled { .. } => "disabled",
        }
    }

    /// Why it is disabled; nothing when it is not.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Enabled | Self::Paused => None,
            Self::Disabled { reason } => Some(reason),
        }
    }
}

/// An endpoint as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where and how.
    pub settings: WebhookSettings,
    /// Signs.
    pub secret: WebhookSecret,
    /// The previous secret, which signs too until this time.
    pub previous: Option<(WebhookSecret, Timestamp)>,
    /// Whether it is served.
    pub status: WebhookStatus,
    /// Who manages it.
    pub source: ManagedBy,
    /// When it was registered, and where in the log: it receives what comes after.
    pub registered: RecordedAt,
}

/// What a tenant has under an endpoint's id: nothing yet, an endpoint, or one that is gone for good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WebhookSlot {
    /// The id was never used.
    #[default]
    Free,
    /// It exists.
    Present(Box<Webhook>),
    /// Deleted.
    Deleted,
}

/// What can be asked of an endpoint.
#[derive(Debug, Clone)]
pub enum WebhookCommand {
    /// Registers it.
    Register {
        /// Where and how.
        settings: WebhookSettings,
        /// Signs.
        secret: WebhookSecret,
        /// Who manages it.
        source: ManagedBy,
    },
    /// Replaces its settings.
    Update(WebhookSettings),
    /// Changes some of its settings.
    Change(WebhookChange),
    /// Stops it for now.
    Pause,
    /// Serves it again after it was paused or disabled.
    Resume,
    /// Disables it with a reason, whether it is paused or not.
    Disable {
        /// For people.
        reason: String,
    },
    /// Deletes it.
    Delete,
    /// Replaces its secret.
    RotateSecret {
        /// Signs from now on.
        secret: WebhookSecret,
        /// How long the previous one signs too.
        previous_until: Option<Timestamp>,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookRefusal {
    /// There is no such endpoint.
    #[error("the webhook does not exist")]
    NotFound,
    /// The id is taken, or was.
    #[error("the webhook's id is in use")]
    Taken,
    /// The tenant has as many as it may make.
    #[error("the tenant has {limit} webhooks already")]
    TooMany {
        /// How many it may have.
        limit: usize,
    },
}

impl WebhookSlot {
    /// Decides which events follow from a command on the endpoint `id`. A command that changes nothing has no events.
    ///
    /// # Errors
    /// A [`WebhookRefusal`]; then nothing happens.
    pub fn decide(
        &self,
        id: &WebhookId,
        command: &WebhookCommand,
    ) -> Result<Option<WebhookEvent>, WebhookRefusal> {
        let webhook_id = id.clone();
        let webhook = match (self, command) {
            (Self::Free, WebhookCommand::Register { settings, secret, source }) => {
                let (settings, secret, source) = (settings.clone(), secret.clone(), *source);
                return Ok(Some(WebhookEvent::Registered(WebhookRegistered {
                    webhook_id,
                    settings,
                    secret,
                    source,
                })));
            }
            (_, WebhookCommand::Register { .. }) => return Err(WebhookRefusal::Taken),
            (Self::Present(webhook), _) => webhook,
            (Self::Free | Self::Deleted, _) => return Err(WebhookRefusal::NotFound),
        };
        let named = WebhookNamed { webhook_id: id.clone() };
        let updated = |settings: WebhookSettings| {
            let is_other = settings != webhook.settings;
            is_other.then_some(WebhookEvent::Updated(WebhookUpdated { webhook_id: id.clone(), settings }))
        };
        Ok(match command {
            WebhookCommand::Update(settings) => updated(settings.clone()),
            WebhookCommand::Change(change) => updated(change.of(&webhook.settings)),
            WebhookCommand::Pause if webhook.status == WebhookStatus::Enabled => {
                Some(WebhookEvent::Paused(named))
            }
            WebhookCommand::Resume if webhook.status != WebhookStatus::Enabled => {
                Some(WebhookEvent::Resumed(named))
            }
            WebhookCommand::Disable { reason } if webhook.status.reason().is_none() => {
                Some(WebhookEvent::Disabled(WebhookDisabled { webhook_id, reason: reason.clone() }))
            }
            WebhookCommand::RotateSecret { secret, previous_until } if *secret != webhook.secret => {
                let (secret, previous_until) = (secret.clone(), *previous_until);
                Some(WebhookEvent::SecretRotated(WebhookSecretRotated { webhook_id, secret, previous_until }))
            }
            WebhookCommand::Delete => Some(WebhookEvent::Deleted(named)),
            _ => None,
        })
    }

    /// Applies an event.
    pub fn apply(&mut self, event: &WebhookEvent, at: RecordedAt) {
        match (&mut *self, event) {
            (slot, WebhookEvent::Registered(event)) => {
                *slot = Self::Present(Box::new(Webhook {
                    settings: event.settings.clone(),
                    secret: event.secret.clone(),
                    previous: None,
                    status: WebhookStatus::Enabled,
                    source: event.source,
                    registered: at,
                }));
            }
            (slot, WebhookEvent::Deleted(_)) => *slot = Self::Deleted,
            (Self::Present(webhook), event) => webhook.apply(event),
            (Self::Free | Self::Deleted, _) => {}
        }
    }
}

impl Webhook {
    fn apply(&mut self, event: &WebhookEvent) {
        match event {
            WebhookEvent::Updated(event) => self.settings.clone_from(&event.settings),
            WebhookEvent::Paused(_) => self.status = WebhookStatus::Paused,
            WebhookEvent::Resumed(_) => self.status = WebhookStatus::Enabled,
            WebhookEvent::Disabled(event) => {
                self.status = WebhookStatus::Disabled { reason: event.reason.clone() };
            }
            WebhookEvent::SecretRotated(event) => {
                let before = std::mem::replace(&mut self.secret, event.secret.clone());
                self.previous = event.previous_until.map(|until| (before, until));
            }
            WebhookEvent::Registered(_) | WebhookEvent::Deleted(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
