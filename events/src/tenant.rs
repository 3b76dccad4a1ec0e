//! A tenant: a customer, the keys that act for it, and the sites that may embed its widget.
//!
//! What the configuration names is reconciled into events ([`TenantCommand::Reconcile`]); what was
//! made by API or command line is never touched by that.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    KeyId, SessionId, Timestamp, Version, WebhookId,
    envelope::Moment,
    webhook::{WebhookCommand, WebhookEvent, WebhookRefusal, WebhookSecret, WebhookSettings, WebhookSlot},
};

/// Who manages a setting, a key or a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The configuration file: changed there and nowhere else.
    Configuration,
    /// The program itself: the demo tenant.
    Builtin,
    /// The management API.
    Api,
    /// The operator's command line.
    Operator,
}

impl Source {
    /// Whether reconciling the configuration may change what has this source.
    fn is_reconciled(self) -> bool {
        matches!(self, Self::Configuration | Self::Builtin)
    }
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// `wk_`: in every visitor's page, so public.
    Widget,
    /// `sk_`: a customer's server, or the operator.
    Secret,
    /// `bk_`: a bot.
    Bot,
}

impl KeyKind {
    /// How keys of this kind begin.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Widget => "wk_",
            Self::Secret => "sk_",
            Self::Bot => "bk_",
        }
    }
}

/// The SHA-256 of a key: all that is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct KeyHash(pub [u8; 32]);

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;
    fn try_from(hex: String) -> Result<Self, Self::Error> {
        let mut hash = [0; 32];
        if hex.len() != 64 {
            return Err("a key's hash has 64 hexadecimal digits");
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            let digits = hex.get(2 * index..2 * index + 2);
            *byte = digits
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .ok_or("a key's hash has 64 hexadecimal digits")?;
        }
        Ok(Self(hash))
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
    pub source: Source,
}

/// `key.issued`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyIssued {
    /// Its public id.
    pub key_id: KeyId,
    /// What it may do.
    pub kind: KeyKind,
    /// Recognises it.
    pub hash: KeyHash,
    /// Who manages it.
    pub source: Source,
}

/// `key.revoked`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRevoked {
    /// Its public id.
    pub key_id: KeyId,
}

/// `session.erased`: that it was, not what was in it.
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
    keys: BTreeMap<KeyId, KeyIssued>,
    webhooks: BTreeMap<WebhookId, WebhookSlot>,
}

/// What the configuration wants a tenant to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DesiredTenant {
    /// Name and origins; absent for keys without a tenant of their own.
    pub settings: Option<TenantSettings>,
    /// Its keys, all of them from the configuration.
    pub keys: BTreeMap<KeyId, (KeyKind, KeyHash)>,
    /// Its webhooks, all of them from the configuration, by the id that each has the first time.
    pub webhooks: BTreeMap<WebhookId, (WebhookSettings, WebhookSecret)>,
    /// How long a webhook's secret signs beside the one that takes its place.
    pub previous_secrets_until: Option<Timestamp>,
}

/// What can be asked of a tenant.
#[derive(Debug, Clone)]
pub enum TenantCommand {
    /// Makes of the tenant what the configuration says, and nothing else.
    Reconcile(DesiredTenant),
    /// Something about one of its webhooks.
    Webhook(WebhookId, WebhookCommand),
    /// Makes a webhook by API, unless there are so many of those already.
    RegisterWebhook {
        /// A new one.
        id: WebhookId,
        /// Where and how.
        settings: WebhookSettings,
        /// Signs.
        secret: WebhookSecret,
        /// How many there may be.
        limit: usize,
    },
}

impl Tenant {
    /// How many events it has.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its settings; nothing while it only holds keys for every tenant, or does not exist.
    #[must_use]
    pub fn settings(&self) -> Option<&TenantSettings> {
        self.settings.as_ref()
    }

    /// Its keys that are not revoked.
    pub fn keys(&self) -> impl Iterator<Item = &KeyIssued> {
        self.keys.values()
    }

    /// Its webhooks that are not deleted.
    pub fn webhooks(&self) -> impl Iterator<Item = (&WebhookId, &crate::webhook::Webhook)> {
        self.webhooks.iter().filter_map(|(id, slot)| match slot {
            WebhookSlot::Present(webhook) => Some((id, &**webhook)),
            WebhookSlot::Free | WebhookSlot::Deleted => None,
        })
    }

    /// What follows from a command.
    ///
    /// # Errors
    /// A [`WebhookRefusal`]; nothing happened then.
    pub fn decide(&self, command: &TenantCommand) -> Result<Vec<TenantEvent>, WebhookRefusal> {
        match command {
            TenantCommand::Reconcile(desired) => self.reconcile(desired),
            TenantCommand::Webhook(id, command) => {
                let event = self.webhook(id).decide(id, command)?;
                Ok(event.into_iter().map(TenantEvent::Webhook).collect())
            }
            TenantCommand::RegisterWebhook { id, settings, secret, limit } => {
                let made = self.webhooks().filter(|(_, webhook)| webhook.source == Source::Api).count();
                if made >= *limit {
                    return Err(WebhookRefusal::TooMany { limit: *limit });
                }
                let (settings, secret, source) = (settings.clone(), secret.clone(), Source::Api);
                let register = WebhookCommand::Register { settings, secret, source };
                let event = self.webhook(id).decide(id, &register)?;
                Ok(event.into_iter().map(TenantEvent::Webhook).collect())
            }
        }
    }

    fn reconcile(&self, desired: &DesiredTenant) -> Result<Vec<TenantEvent>, WebhookRefusal> {
        let mut events = Vec::new();
        match (&self.settings, &desired.settings) {
            (None, Some(wanted)) => events.push(TenantEvent::Created(wanted.clone())),
            (Some(now), Some(wanted)) if now.source.is_reconciled() && now != wanted => {
                events.push(TenantEvent::Updated(wanted.clone()));
            }
            _ => {}
        }
        self.reconcile_keys(desired, &mut events);
        self.reconcile_webhooks(desired, &mut events)?;
        Ok(events)
    }

    fn reconcile_keys(&self, desired: &DesiredTenant, events: &mut Vec<TenantEvent>) {
        for (id, (kind, hash)) in &desired.keys {
            if !self.keys.contains_key(id) {
                events.push(TenantEvent::KeyIssued(KeyIssued {
                    key_id: id.clone(),
                    kind: *kind,
                    hash: *hash,
                    source: Source::Configuration,
                }));
            }
        }
        let configured = self.keys.values().filter(|key| key.source.is_reconciled());
        for key in configured.filter(|key| !desired.keys.contains_key(&key.key_id)) {
            events.push(TenantEvent::KeyRevoked(KeyRevoked { key_id: key.key_id.clone() }));
        }
    }

    fn reconcile_webhooks(
        &self,
        desired: &DesiredTenant,
        events: &mut Vec<TenantEvent>,
    ) -> Result<(), WebhookRefusal> {
        let previous_until = desired.previous_secrets_until;
        let mut commands = Vec::new();
        let mut wanted = BTreeSet::new();
        for (name, (settings, secret)) in &desired.webhooks {
            let id = self.configured_webhook_id(name);
            let (settings, secret) = (settings.clone(), secret.clone());
            if self.webhooks.contains_key(&id) {
                commands.push((id.clone(), WebhookCommand::Update(settings)));
                commands.push((id.clone(), WebhookCommand::RotateSecret { secret, previous_until }));
            } else {
                let source = Source::Configuration;
                commands.push((id.clone(), WebhookCommand::Register { settings, secret, source }));
            }
            wanted.insert(id);
        }
        for (id, webhook) in self.webhooks() {
            if webhook.source.is_reconciled() && !wanted.contains(id) {
                commands.push((id.clone(), WebhookCommand::Delete));
            }
        }
        for (id, command) in commands {
            let event = self.webhook(&id).decide(&id, &command)?;
            events.extend(event.map(TenantEvent::Webhook));
        }
        Ok(())
    }

    /// A webhook that left the configuration and returns is a new one, since deleting is final: it
    /// gets the first id after `name` that is not used up.
    fn configured_webhook_id(&self, name: &WebhookId) -> WebhookId {
        let numbered = (2..).filter_map(|number| WebhookId::parse(&format!("{name}-{number}")).ok());
        let mut ids = std::iter::once(name.clone()).chain(numbered);
        ids.find(|id| *self.webhook(id) != WebhookSlot::Deleted).unwrap_or_else(|| name.clone())
    }

    fn webhook(&self, id: &WebhookId) -> &WebhookSlot {
        self.webhooks.get(id).unwrap_or(&WebhookSlot::Free)
    }

    /// Takes in what happened.
    pub fn apply(&mut self, event: &TenantEvent, at: Moment) {
        self.version = self.version.plus(1);
        match event {
            TenantEvent::Created(settings) | TenantEvent::Updated(settings) => {
                self.settings = Some(settings.clone());
            }
            TenantEvent::KeyIssued(key) => {
                self.keys.insert(key.key_id.clone(), key.clone());
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
