//! A tenant: a customer, the keys that act for it, and the sites that may embed its widget.
//!
//! Each of these has one manager ([`ManagedBy`]). What the configuration names is reconciled into events
//! ([`TenantCommand::Reconcile`]) and changed there alone; what was made by API or command line is
//! never touched by that.

use std::collections::BTreeMap;

use imbl::{OrdMap, ordmap::DiffItem};
use serde::{Deserialize, Serialize};

use crate::{
    KeyId, SessionId, Version, WebhookId,
    envelope::RecordedAt,
    webhook::{WebhookCommand, WebhookEvent, WebhookRefusal, WebhookSecret, WebhookSettings, WebhookSlot},
};

mod key;
mod reconcile;

pub use super::managed_by::ManagedBy;
pub use key::{KeyChange, KeyHash, KeyIssued, KeyKind, KeyRevoked, TenantKey};
pub use reconcile::DesiredTenant;

impl ManagedBy {
    /// Whether reconciling the configuration may change what has this source.
    fn is_reconciled(self) -> bool {
        matches!(self, Self::Configuration | Self::Builtin)
    }

    /// Refuses a manual change of something that the next start would change back.
    fn check_unmanaged(self) -> Result<(), TenantRefusal> {
        match self {
            Self::Configuration => Err(TenantRefusal::Configured),
            Self::Builtin => Err(TenantRefusal::Demo),
            Self::Api | Self::Operator => Ok(()),
        }
    }
}

/// `tenant.created`, and `tenant.updated` with all of the settings as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantSettings {
    /// For people.
    pub name: String,
    /// The sites that may embed the widget: `*`, exact, or `https://*.example.com`.
    pub origins: Vec<String>,
    /// Who manages them.
    pub source: ManagedBy,
}

/// `session.erased`: records that a session was erased, not what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionErased {
    /// The session whose stream was deleted.
    pub session_id: SessionId,
}

/// An event of a `tenant:` stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantEvent {
    /// `tenant.created`
    Created(TenantSettings),
    /// `tenant.updated`
    Updated(TenantSettings),
    /// `key.issued`
    KeyIssued(KeyIssued),
    /// `key.revoked`
    KeyRevoked(KeyRevoked),
    /// `session.erased`
    SessionErased(SessionErased),
    /// `webhook.*`
    Webhook(WebhookEvent),
}

/// A tenant as it is now: the fold of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tenant {
    version: Version,
    settings: Option<TenantSettings>,
    /// There may be thousands, and every change of a tenant copies the tenant.
    keys: OrdMap<KeyId, TenantKey>,
    webhooks: BTreeMap<WebhookId, WebhookSlot>,
}

/// What can be asked of a tenant.
#[derive(Debug, Clone)]
pub enum TenantCommand {
    /// Makes the tenant match the configuration.
    Reconcile(DesiredTenant),
    /// Creates the tenant.
    Create(TenantSettings),
    /// Changes what is given and leaves the rest.
    Update {
        /// For people.
        name: Option<String>,
        /// The sites that may embed the widget.
        origins: Option<Vec<String>>,
    },
    /// Lets a key be used.
    IssueKey {
        /// The key.
        key: KeyIssued,
        /// Whether it is for the holder of the keys for every tenant, which is no tenant itself.
        for_every: bool,
    },
    /// Ends a key, and with it every token that it minted.
    RevokeKey(KeyId),
    /// Something about one of its webhooks.
    Webhook(WebhookId, WebhookCommand),
    /// Creates a webhook by API, up to a limit.
    RegisterWebhook {
        /// A new id.
        id: WebhookId,
        /// Where and how.
        settings: WebhookSettings,
        /// Signs.
        secret: WebhookSecret,
        /// How many there may be.
        limit: usize,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TenantRefusal {
    /// There is no such tenant.
    #[error("the tenant does not exist")]
    NotFound,
    /// There is one already.
    #[error("the tenant exists already")]
    Exists,
    /// The configuration manages it.
    #[error("it comes from the configuration: change it there and start the service again")]
    Configured,
    /// The program manages it.
    #[error("the demo tenant comes with the program and goes once there is another: create one")]
    Demo,
    /// There is no such key, or it is revoked.
    #[error("the key does not exist")]
    KeyNotFound,
    /// The key is in use.
    #[error("the key is issued already")]
    KeyTaken,
    /// The webhook refuses it.
    #[error(transparent)]
    Webhook(#[from] WebhookRefusal),
}

impl Tenant {
    /// How many events it has.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its settings; `None` while it only holds keys for every tenant, or does not exist.
    #[must_use]
    pub fn settings(&self) -> Option<&TenantSettings> {
        self.settings.as_ref()
    }

    /// Its keys that are not revoked.
    pub fn keys(&self) -> impl Iterator<Item = &TenantKey> {
        self.keys.values()
    }

    /// How its keys differ from those of an earlier state of it. The cost grows with the change, not with the keys.
    pub fn key_changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = KeyChange<'a>> {
        before
            .keys
            .diff(&self.keys)
            .flat_map(|item| match item {
                DiffItem::Add(_, key) => [Some(KeyChange::Added(key)), None],
                DiffItem::Remove(_, key) => [Some(KeyChange::Removed(key)), None],
                DiffItem::Update { old: (_, old), new: (_, new) } => {
                    [Some(KeyChange::Removed(old)), Some(KeyChange::Added(new))]
                }
            })
            .flatten()
    }

    /// Its webhooks that are not deleted.
    pub fn webhooks(&self) -> impl Iterator<Item = (&WebhookId, &crate::webhook::Webhook)> {
        self.webhooks.keys().filter_map(|id| Some((id, self.webhook(id)?)))
    }

    /// One of its webhooks, unless it is deleted.
    #[must_use]
    pub fn webhook(&self, id: &WebhookId) -> Option<&crate::webhook::Webhook> {
        match self.slot(id) {
            WebhookSlot::Present(webhook) => Some(webhook),
            WebhookSlot::Free | WebhookSlot::Deleted => None,
        }
    }

    /// Decides which events follow from a command. A command that changes nothing has no events.
    ///
    /// # Errors
    /// A [`TenantRefusal`]; then nothing happens.
    pub fn decide(&self, command: &TenantCommand) -> Result<Vec<TenantEvent>, TenantRefusal> {
        Ok(match command {
            TenantCommand::Reconcile(desired) => self.reconcile(desired)?,
            TenantCommand::Create(settings) => self.create(settings)?,
            TenantCommand::Update { name, origins } => self.update(name.as_ref(), origins.as_ref())?,
            TenantCommand::IssueKey { key, for_every } => self.issue(key, *for_every)?,
            TenantCommand::RevokeKey(id) => self.revoke(id)?,
            TenantCommand::Webhook(id, command) => {
                self.check_webhook(id, command)?;
                let event = self.slot(id).decide(id, command)?;
                event.into_iter().map(TenantEvent::Webhook).collect()
            }
            TenantCommand::RegisterWebhook { id, settings, secret, limit } => {
                let made = self.webhooks().filter(|(_, webhook)| webhook.source == ManagedBy::Api).count();
                if made >= *limit {
                    return Err(WebhookRefusal::TooMany { limit: *limit }.into());
                }
                let (settings, secret, source) = (settings.clone(), secret.clone(), ManagedBy::Api);
                let register = WebhookCommand::Register { settings, secret, source };
                self.check_webhook(id, &register)?;
                let event = self.slot(id).decide(id, &register)?;
                event.into_iter().map(TenantEvent::Webhook).collect()
            }
        })
    }

    fn create(&self, settings: &TenantSettings) -> Result<Vec<TenantEvent>, TenantRefusal> {
        match self.settings {
            Some(_) => Err(TenantRefusal::Exists),
            None => Ok(vec![TenantEvent::Created(settings.clone())]),
        }
    }

    fn update(
        &self,
        name: Option<&String>,
        origins: Option<&Vec<String>>,
    ) -> Result<Vec<TenantEvent>, TenantRefusal> {
        let now = self.settings.as_ref().ok_or(TenantRefusal::NotFound)?;
        now.source.check_unmanaged()?;
        let wanted = TenantSettings {
            name: name.unwrap_or(&now.name).clone(),
            origins: origins.unwrap_or(&now.origins).clone(),
            source: now.source,
        };
        Ok(if wanted == *now { Vec::new() } else { vec![TenantEvent::Updated(wanted)] })
    }

    fn issue(&self, key: &KeyIssued, for_every: bool) -> Result<Vec<TenantEvent>, TenantRefusal> {
        match &self.settings {
            None if !for_every => Err(TenantRefusal::NotFound),
            Some(settings) if settings.source == ManagedBy::Builtin => Err(TenantRefusal::Demo),
            _ if self.keys.contains_key(&key.key_id) => Err(TenantRefusal::KeyTaken),
            _ => Ok(vec![TenantEvent::KeyIssued(key.clone())]),
        }
    }

    fn revoke(&self, id: &KeyId) -> Result<Vec<TenantEvent>, TenantRefusal> {
        let key = self.keys.get(id).ok_or(TenantRefusal::KeyNotFound)?;
        key.issued.source.check_unmanaged()?;
        Ok(vec![TenantEvent::KeyRevoked(KeyRevoked { key_id: id.clone() })])
    }

    /// Anybody may stop and resume an endpoint; only its manager may change its settings.
    fn check_webhook(&self, id: &WebhookId, command: &WebhookCommand) -> Result<(), TenantRefusal> {
        match (command, self.slot(id)) {
            (WebhookCommand::Register { .. }, _) if self.settings.is_none() => Err(TenantRefusal::NotFound),
            (
                WebhookCommand::Update(_)
                | WebhookCommand::Change(_)
                | WebhookCommand::Delete
                | WebhookCommand::RotateSecret { .. },
                WebhookSlot::Present(webhook),
            ) => webhook.source.check_unmanaged(),
            _ => Ok(()),
        }
    }

    fn slot(&self, id: &WebhookId) -> &WebhookSlot {
        self.webhooks.get(id).unwrap_or(&WebhookSlot::Free)
    }

    /// Applies an event.
    pub fn apply(&mut self, event: &TenantEvent, at: RecordedAt) {
        self.version = self.version.plus(1);
        match event {
            TenantEvent::Created(settings) | TenantEvent::Updated(settings) => {
                self.settings = Some(settings.clone());
            }
            TenantEvent::KeyIssued(key) => {
                let issued = TenantKey { issued: key.clone(), created: at.time };
                self.keys.insert(key.key_id.clone(), issued);
            }
            TenantEvent::KeyRevoked(key) => {
                self.keys.remove(&key.key_id);
            }
            TenantEvent::SessionErased(_) => {}
            TenantEvent::Webhook(event) => {
                self.webhooks.entry(event.webhook_id().clone()).or_default().apply(event, at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
