//! Compares the configuration with a tenant: what is new is added, what changed is changed, and keys and webhooks that are
//! no longer in it are revoked and deleted. What was made by API or command line is never touched.

use std::collections::{BTreeMap, BTreeSet};

use super::{KeyHash, KeyIssued, KeyKind, KeyRevoked, ManagedBy, Tenant, TenantEvent, TenantSettings};
use crate::{
    KeyId, Timestamp, WebhookId,
    webhook::{WebhookCommand, WebhookRefusal, WebhookSecret, WebhookSettings, WebhookSlot},
};

/// What the configuration wants a tenant to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DesiredTenant {
    /// Name and origins; absent for keys without a tenant of their own.
    pub settings: Option<TenantSettings>,
    /// Its keys, all of them from the configuration.
    pub keys: BTreeMap<KeyId, (KeyKind, KeyHash)>,
    /// Its webhooks, all of them from the configuration, by the id that each gets the first time.
    pub webhooks: BTreeMap<WebhookId, (WebhookSettings, WebhookSecret)>,
    /// How long a webhook's previous secret signs in addition to the new one.
    pub previous_secrets_until: Option<Timestamp>,
}

impl Tenant {
    pub(super) fn reconcile(&self, desired: &DesiredTenant) -> Result<Vec<TenantEvent>, WebhookRefusal> {
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
                    source: ManagedBy::Configuration,
                    name: None,
                }));
            }
        }
        let configured = self.keys.values().map(|key| &key.issued).filter(|key| key.source.is_reconciled());
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
                let source = ManagedBy::Configuration;
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
            let event = self.slot(&id).decide(&id, &command)?;
            events.extend(event.map(TenantEvent::Webhook));
        }
        Ok(())
    }

    /// A webhook that was removed from the configuration and returns is a new one, since deleting is final: it gets the
    /// first id after `name` that was never used.
    fn configured_webhook_id(&self, name: &WebhookId) -> WebhookId {
        let numbered = (2..).filter_map(|number| WebhookId::parse(&format!("{name}-{number}")).ok());
        let mut ids = std::iter::once(name.clone()).chain(numbered);
        ids.find(|id| *self.slot(id) != WebhookSlot::Deleted).unwrap_or_else(|| name.clone())
    }
}
