//! The tenants of the configuration, and the demo tenant, made into events at the start.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use amoiq_actors::tenants::{TenantHandle, TenantRegistry, is_demo_tenant};
use amoiq_events::{
    Ambient, EventStore, KeyId, TenantId, Timestamp, WebhookId,
    event::EventCause,
    tenant::{DesiredTenant, KeyHash, KeyKind, ManagedBy, TenantCommand, TenantSettings},
    webhook::{WebhookSecret, WebhookSettings},
};
use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

use crate::{
    access::auth,
    access::secret::Secret,
    config,
    webhooks::{DestinationPolicy, signature},
};

pub mod change;
pub mod settings;

pub use change::{TenantChangeError, TenantService};

/// How many characters a key has after its prefix, at least.
const KEY_CHARACTERS: usize = 8;

const HOUR_MS: i64 = 3_600_000;

/// The demo tenant's id.
pub const DEMO_TENANT: &str = "demo";

/// The demo tenant's keys, known to everybody.
pub const DEMO_KEYS: [(KeyKind, &str); 3] = [
    (KeyKind::Widget, "wk_demo_0000000000000000"),
    (KeyKind::Secret, "sk_demo_0000000000000000"),
    (KeyKind::Bot, "bk_demo_0000000000000000"),
];

/// Whether the demo tenant may exist: its keys are known, so nobody outside may reach it.
#[must_use]
pub fn allows_demo(bind: SocketAddr) -> bool {
    bind.ip().is_loopback()
}

/// Makes of the tenants what the configuration says. A webhook whose secret was changed there is signed with
/// the one before for a while, too.
///
/// # Errors
/// When an entry of the configuration is wrong (nothing is changed then), or the store refuses.
pub async fn reconcile(
    configured: &[config::TenantConfig],
    bind: SocketAddr,
    webhooks: &config::WebhooksConfig,
    store: &Arc<dyn EventStore>,
    ambient: &Ambient,
    registry: &Arc<TenantRegistry>,
) -> anyhow::Result<()> {
    let mut desired = desired(configured, webhooks)?;
    let previous_until = previous_until(webhooks.previous_secret_hours, ambient);
    desired.values_mut().for_each(|wanted| wanted.previous_secrets_until = previous_until);
    // Tenants that left the configuration keep their history and lose their configured keys.
    let current = registry.current();
    for id in current.known() {
        desired.entry(id.clone()).or_default();
    }
    // Not where a customer's tenant was ever, whatever it is called: everybody knows the demo's keys.
    let is_new = configured.is_empty() && current.all().all(|(_, tenant)| is_demo_tenant(tenant));
    if is_new && allows_demo(bind) {
        desired.insert(TenantId::parse(DEMO_TENANT)?, demo());
    }
    for (id, wanted) in desired {
        let actor = TenantHandle::start(id.clone(), Arc::clone(store), ambient.clone(), Arc::clone(registry));
        let cause = EventCause { causation: "start".into(), actor: "service:configuration".into() };
        let changes = actor.execute(TenantCommand::Reconcile(wanted), cause).await?;
        // The demo is told by the greeting.
        if changes > 0 && id.as_str() != DEMO_TENANT {
            tracing::info!(tenant.id = %id, changes, "the tenant follows the configuration");
        }
    }
    Ok(())
}

/// What the configuration wants of each tenant.
///
/// # Errors
/// When an entry is wrong; the text says which and why.
pub fn desired(
    configured: &[config::TenantConfig],
    webhooks: &config::WebhooksConfig,
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

/// Until when the secret before signs beside one that takes its place now; nothing when it does not.
#[must_use]
pub fn previous_until(hours: u32, ambient: &Ambient) -> Option<Timestamp> {
    (hours > 0).then(|| ambient.now().plus_millis(i64::from(hours) * HOUR_MS))
}

fn demo() -> DesiredTenant {
    let key = |(kind, key): (KeyKind, &str)| {
        let (id, hash) = auth::fingerprint(key);
        (id, (kind, hash))
    };
    let settings =
        TenantSettings { name: "Demo".to_owned(), origins: vec!["*".to_owned()], source: ManagedBy::Builtin };
    DesiredTenant {
        settings: Some(settings),
        keys: DEMO_KEYS.into_iter().map(key).collect(),
        ..DesiredTenant::default()
    }
}

fn desire(
    tenant: &config::TenantConfig,
    destinations: &DestinationPolicy,
) -> anyhow::Result<(TenantId, DesiredTenant)> {
    let id = TenantId::try_from(tenant.id.clone()).context("id")?;
    let mut desired = DesiredTenant::default();
    if id.is_every() {
        ensure!(
            tenant.name.is_none() && tenant.origins.is_none() && tenant.webhooks.is_empty(),
            "it stands for every tenant and has keys only"
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
        // The URL is not shown: what is wrong with it may be the password in it.
        let (id, wanted) = desire_webhook(webhook, destinations)
            .with_context(|| format!("webhooks: number {}", place + 1))?;
        // Nor here: a token of the receiver's may stand in its path or query.
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
            "a key of this list is `{}` and at least {KEY_CHARACTERS} letters, digits, `_` or `-`",
            kind.prefix()
        );
    }
    if DEMO_KEYS.iter().any(|(_, demo)| *demo == key.expose()) {
        tracing::warn!("a demo key is configured for a tenant: it is known to everybody, make another");
    }
    Ok(auth::fingerprint(key.expose()))
}

fn desire_webhook(
    webhook: &config::WebhookConfig,
    destinations: &DestinationPolicy,
) -> anyhow::Result<(WebhookId, (WebhookSettings, WebhookSecret))> {
    destinations.parse(&webhook.url)?;
    let secret = signature::check_secret(webhook.secret.expose())?;
    let digest: [u8; 32] = Sha256::digest(&webhook.url).into();
    let short: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let settings = WebhookSettings {
        url: webhook.url.clone(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: BTreeMap::new(),
        rate_per_second: None,
    };
    Ok((WebhookId::parse(&format!("wh-{short}"))?, (settings, secret)))
}

/// Whether the demo tenant is there to be tried.
#[must_use]
pub fn serves_demo(registry: &TenantRegistry) -> bool {
    TenantId::parse(DEMO_TENANT)
        .is_ok_and(|demo| registry.current().tenant(&demo).is_some_and(|tenant| is_demo_tenant(tenant)))
}

/// The demo's keys, and three commands that use them.
#[must_use]
pub fn demo_lines(address: SocketAddr) -> String {
    let [(_, widget), (_, secret), (_, bot)] = DEMO_KEYS;
    format!(
        r#"
A demo tenant is there to try, on this machine only, until you configure your own:

  tenant      {DEMO_TENANT}
  widget key  {widget}
  secret key  {secret}
  bot key     {bot}

A visitor writes, an agent answers, and the conversation is read back:

  curl -X POST http://{address}/webchat/message -H 'Authorization: Bearer {widget}' -H 'Content-Type: application/json' -d '{{"text":"Hello, I need help","sessionId":"session-demo-0123456789"}}'
  curl -X POST http://{address}/webchat/message -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' -d '{{"text":"How can I help?","sessionId":"session-demo-0123456789","senderName":"Ann"}}'
  curl 'http://{address}/api/chat/messages?tenantId={DEMO_TENANT}&sessionId=session-demo-0123456789' -H 'Authorization: Bearer {widget}'
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, secret: &str) -> config::TenantConfig {
        config::TenantConfig {
            id: "acme".to_owned(),
            name: None,
            origins: None,
            widget_keys: Vec::new(),
            secret_keys: Vec::new(),
            bot_keys: Vec::new(),
            webhooks: vec![config::WebhookConfig {
                url: url.to_owned(),
                secret: Secret::new(secret.to_owned()),
            }],
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
