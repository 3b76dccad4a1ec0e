//! The tenants of the configuration: at each start the log is brought in line with them.

use std::{collections::BTreeMap, sync::Arc};

use amoiq_actors::tenants::{TenantHandle, is_demo_tenant};
use amoiq_events::{
    KeyId, TenantId, WebhookId,
    event::EventCause,
    tenant::{DesiredTenant, KeyHash, KeyKind, ManagedBy, TenantCommand, TenantSettings},
    webhook::{WebhookSecret, WebhookSettings},
};
use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use super::{
    core_services::CoreServices,
    demo_tenant::{self, DEMO_KEYS},
};
use crate::{
    access::{
        auth,
        secret::Secret,
        tenants::{DEMO_TENANT, previous_until},
    },
    config::{TenantConfig, WebhookConfig, WebhooksConfig},
    webhooks::{DestinationPolicy, signature},
};

/// The least number of characters of a key after its prefix.
const KEY_CHARACTERS: usize = 8;

/// Brings the tenants of the log in line with the configuration. If the secret of a webhook was changed there, the old
/// secret also signs for a while.
pub(super) async fn reconcile(core: &CoreServices) -> anyhow::Result<()> {
    let CoreServices { config, log, ambient, registry, .. } = core;
    let (configured, webhooks) = (&config.tenants, &config.webhooks);
    let mut desired = desired_tenants(configured, webhooks)?;
    let previous_until = previous_until(webhooks.previous_secret_hours, ambient);
    desired.values_mut().for_each(|wanted| wanted.previous_secrets_until = previous_until);
    // Tenants that are no longer configured keep their history and lose their configured keys.
    let current = registry.current();
    for id in current.known() {
        desired.entry(id.clone()).or_default();
    }
    // Not if there has ever been another tenant, whatever its id: everybody knows the keys of the demo tenant.
    let is_new = configured.is_empty() && current.all().all(|(_, tenant)| is_demo_tenant(tenant));
    if is_new && demo_tenant::is_allowed(core.config.server.bind) {
        desired.insert(TenantId::parse(DEMO_TENANT)?, demo_tenant::desired());
    }
    for (id, wanted) in desired {
        let actor = TenantHandle::start(id.clone(), Arc::clone(log), ambient.clone(), Arc::clone(registry));
        let cause = EventCause { causation: "start".into(), actor: "service:configuration".into() };
        let changes = actor.execute(TenantCommand::Reconcile(wanted), cause).await?;
        // The start banner mentions the demo tenant.
        if changes > 0 && id.as_str() != DEMO_TENANT {
            tracing::info!(tenant.id = %id, changes, "a tenant was brought in line with the configuration");
        }
    }
    Ok(())
}

/// What the configuration says about each tenant.
///
/// # Errors
/// When an entry is invalid; the text says which and why.
pub(crate) fn desired_tenants(
    configured: &[TenantConfig],
    webhooks: &WebhooksConfig,
) -> anyhow::Result<BTreeMap<TenantId, DesiredTenant>> {
    let destinations = DestinationPolicy::new(&webhooks.allowed_networks);
    let mut desired = BTreeMap::new();
    for tenant in configured {
        let (id, wanted) =
            desire(tenant, &destinations).with_context(|| format!("tenants: `{}`", tenant.id))?;
        ensure!(desired.insert(id, wanted).is_none(), "tenants: `{}` is listed twice", tenant.id);
    }
    Ok(desired)
}

fn desire(
    tenant: &TenantConfig,
    destinations: &DestinationPolicy,
) -> anyhow::Result<(TenantId, DesiredTenant)> {
    let id = TenantId::try_from(tenant.id.clone()).context("id")?;
    let mut desired = DesiredTenant::default();
    if id.is_every() {
        ensure!(
            tenant.name.is_none() && tenant.origins.is_none() && tenant.webhooks.is_empty(),
            "`*` stands for every tenant and can only have keys"
        );
    } else {
        desired.settings = Some(TenantSettings {
            name: tenant.name.clone().unwrap_or_else(|| tenant.id.clone()),
            origins: tenant.origins.clone().unwrap_or_else(|| vec!["*".to_owned()]),
            source: ManagedBy::Configuration,
        });
    }
    let lists = [
        (KeyKind::Widget, &tenant.widget_keys),
        (KeyKind::Secret, &tenant.secret_keys),
        (KeyKind::Bot, &tenant.bot_keys),
    ];
    for (kind, keys) in lists {
        for key in keys {
            let (id, hash) = check_key(kind, key)?;
            desired.keys.insert(id, (kind, hash));
        }
    }
    for (place, webhook) in tenant.webhooks.iter().enumerate() {
        // The URL is not shown: the mistake in it may be a password.
        let (id, wanted) = desire_webhook(webhook, destinations)
            .with_context(|| format!("webhooks: number {}", place + 1))?;
        // Nor is it here: its path or query may contain a token of the receiver.
        let is_new = desired.webhooks.insert(id, wanted).is_none();
        ensure!(is_new, "webhooks: number {} is listed twice", place + 1);
    }
    Ok((id, desired))
}

fn check_key(kind: KeyKind, key: &Secret) -> anyhow::Result<(KeyId, KeyHash)> {
    let rest = key.expose().strip_prefix(kind.prefix());
    let well_formed = |rest: &str| {
        rest.len() >= KEY_CHARACTERS
            && rest.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'))
    };
    if !rest.is_some_and(well_formed) {
        // The key itself is not shown: error texts end up in logs.
        bail!(
            "each key of this list must be `{}` followed by at least {KEY_CHARACTERS} letters, digits, `_` or `-`",
            kind.prefix()
        );
    }
    if DEMO_KEYS.iter().any(|(_, demo)| *demo == key.expose()) {
        tracing::warn!("a tenant is configured with a demo key, which everybody knows: use another key");
    }
    Ok(auth::fingerprint(key.expose()))
}

fn desire_webhook(
    webhook: &WebhookConfig,
    destinations: &DestinationPolicy,
) -> anyhow::Result<(WebhookId, (WebhookSettings, WebhookSecret))> {
    destinations.parse(&webhook.url)?;
    let secret = signature::check_secret(webhook.secret.expose())?;
    let digest: [u8; 32] = Sha256::digest(&webhook.url).into();
    let short: String = hex::encode(digest).chars().take(12).collect();
    let settings = WebhookSettings {
        url: webhook.url.clone(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: BTreeMap::new(),
        rate_per_second: None,
    };
    Ok((WebhookId::parse(&format!("wh-{short}"))?, (settings, secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, secret: &str) -> TenantConfig {
        TenantConfig {
            id: "acme".to_owned(),
            name: None,
            origins: None,
            widget_keys: Vec::new(),
            secret_keys: Vec::new(),
            bot_keys: Vec::new(),
            webhooks: vec![WebhookConfig { url: url.to_owned(), secret: Secret::new(secret.to_owned()) }],
        }
    }

    #[test]
    fn a_webhook_that_cannot_be_delivered_to_or_signed_for_is_an_error_that_shows_neither() {
        let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let destinations = DestinationPolicy::default();
        assert!(desire(&webhook("https://acme.example/", good), &destinations).is_ok());
        for (url, secret, says) in [
            ("https://acme.example/", "whsec_hidden", "a webhook's secret is `whsec_`"),
            ("https://me:hidden@acme.example/", good, "the URL holds a user or a password"),
            ("http://10.0.0.1/", good, "refused address 10.0.0.1; see webhooks.allowed_networks"),
        ] {
            let error = format!("{:#}", desire(&webhook(url, secret), &destinations).unwrap_err());
            assert!(error.contains("webhooks: number 1") && error.contains(says), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
        let mut twice = webhook("https://acme.example/hidden", good);
        twice.webhooks.extend(webhook("https://acme.example/hidden", good).webhooks);
        let error = format!("{:#}", desire(&twice, &destinations).unwrap_err());
        assert_eq!(error, "webhooks: number 2 is listed twice");
        let opened = DestinationPolicy::new(&["10.0.0.0/8".parse().unwrap()]);
        assert!(desire(&webhook("http://10.0.0.1/", good), &opened).is_ok());
    }
}
