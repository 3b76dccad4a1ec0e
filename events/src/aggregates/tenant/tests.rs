//! Given a tenant's history, when the configuration is read again or an operator asks for something,
//! then these events follow.

use super::*;
use crate::webhook::{WebhookChange, WebhookSecret, WebhookSettings};

fn settings(name: &str) -> TenantSettings {
    TenantSettings { name: name.to_owned(), origins: vec!["*".to_owned()], source: ManagedBy::Configuration }
}

fn desired(name: &str, keys: &[&str]) -> DesiredTenant {
    let key = |id: &&str| (KeyId::parse(id).unwrap(), (KeyKind::Widget, KeyHash([1; 32])));
    DesiredTenant {
        settings: Some(settings(name)),
        keys: keys.iter().map(key).collect(),
        ..DesiredTenant::default()
    }
}

fn with_webhook(secret: &str) -> DesiredTenant {
    let endpoint = WebhookSettings {
        url: "https://a.example".to_owned(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: BTreeMap::new(),
        rate_per_second: None,
    };
    let webhook = (endpoint, WebhookSecret::new(secret.to_owned()));
    DesiredTenant {
        webhooks: BTreeMap::from([(WebhookId::parse("wh-1").unwrap(), webhook)]),
        ..desired("A", &[])
    }
}

fn reconcile(tenant: &mut Tenant, desired: DesiredTenant) -> Result<usize, TenantRefusal> {
    let events = tenant.decide(&TenantCommand::Reconcile(desired))?;
    events.iter().for_each(|event| tenant.apply(event, RecordedAt::default()));
    Ok(events.len())
}

#[test]
fn reconciling_twice_changes_nothing() {
    let mut tenant = Tenant::default();
    assert_eq!(reconcile(&mut tenant, desired("A", &["k1", "k2"])), Ok(3));
    assert_eq!(reconcile(&mut tenant, desired("A", &["k1", "k2"])), Ok(0));
}

#[test]
fn a_key_that_left_the_configuration_is_revoked_and_may_return() {
    let mut tenant = Tenant::default();
    reconcile(&mut tenant, desired("A", &["k1", "k2"])).unwrap();
    assert_eq!(reconcile(&mut tenant, desired("A", &["k2"])), Ok(1));
    assert_eq!(tenant.keys().count(), 1);
    assert_eq!(reconcile(&mut tenant, desired("A", &["k1", "k2"])), Ok(1));
    assert_eq!(tenant.keys().count(), 2);
}

#[test]
fn a_key_made_elsewhere_is_left_alone() {
    let mut tenant = Tenant::default();
    reconcile(&mut tenant, desired("A", &[])).unwrap();
    let issued = KeyIssued {
        key_id: KeyId::parse("made-by-hand").unwrap(),
        kind: KeyKind::Bot,
        hash: KeyHash([2; 32]),
        source: ManagedBy::Operator,
        name: None,
    };
    tenant.apply(&TenantEvent::KeyIssued(issued), RecordedAt::default());
    assert_eq!(reconcile(&mut tenant, desired("A", &[])), Ok(0));
    assert_eq!(tenant.keys().count(), 1);
}

#[test]
fn a_changed_name_is_an_update() {
    let mut tenant = Tenant::default();
    reconcile(&mut tenant, desired("A", &[])).unwrap();
    assert_eq!(reconcile(&mut tenant, desired("B", &[])), Ok(1));
    assert_eq!(tenant.settings().map(|settings| settings.name.as_str()), Some("B"));
}

#[test]
fn a_configured_webhook_follows_the_configuration() {
    let mut tenant = Tenant::default();
    assert_eq!(reconcile(&mut tenant, with_webhook("whsec_a")), Ok(2));
    assert_eq!(reconcile(&mut tenant, with_webhook("whsec_a")), Ok(0));
    assert_eq!(reconcile(&mut tenant, with_webhook("whsec_b")), Ok(1));
    assert_eq!(reconcile(&mut tenant, desired("A", &[])), Ok(1));
    assert_eq!(tenant.webhooks().count(), 0);
}

#[test]
fn a_configured_webhook_that_returns_is_a_new_one() {
    let mut tenant = Tenant::default();
    for _ in 0..3 {
        reconcile(&mut tenant, with_webhook("whsec_a")).unwrap();
        reconcile(&mut tenant, desired("A", &[])).unwrap();
    }
    reconcile(&mut tenant, with_webhook("whsec_a")).unwrap();
    let ids: Vec<_> = tenant.webhooks().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["wh-1-4"]);
}

#[test]
fn a_tenant_makes_so_many_webhooks_by_api_and_no_more() {
    let mut tenant = Tenant::default();
    reconcile(&mut tenant, with_webhook("whsec_a")).unwrap();
    let mut register = |id: &str| {
        let id = WebhookId::parse(id).unwrap();
        let (settings, secret) = with_webhook("whsec_b").webhooks.into_values().next().unwrap();
        let events = tenant.decide(&TenantCommand::RegisterWebhook { id, settings, secret, limit: 2 })?;
        events.iter().for_each(|event| tenant.apply(event, RecordedAt::default()));
        Ok::<_, TenantRefusal>(events.len())
    };
    assert_eq!(register("wh-2"), Ok(1));
    assert_eq!(register("wh-3"), Ok(1), "the one of the configuration does not count");
    assert_eq!(register("wh-4"), Err(WebhookRefusal::TooMany { limit: 2 }.into()));
    let gone = WebhookId::parse("wh-2").unwrap();
    for event in tenant.decide(&TenantCommand::Webhook(gone, WebhookCommand::Delete)).unwrap() {
        tenant.apply(&event, RecordedAt::default());
    }
    let left = tenant.webhooks().map(|(id, _)| id.as_str()).collect::<Vec<_>>();
    assert_eq!(left, ["wh-1", "wh-3"]);
}

#[test]
fn a_key_hash_reads_back() {
    let hash = KeyHash([0xab; 32]);
    assert_eq!(KeyHash::try_from(String::from(hash)), Ok(hash));
    assert!(KeyHash::try_from("ab".to_owned()).is_err());
    assert!(KeyHash::try_from("zz".repeat(32)).is_err());
}

fn when(tenant: &mut Tenant, command: &TenantCommand) -> Result<usize, TenantRefusal> {
    let events = tenant.decide(command)?;
    events.iter().for_each(|event| tenant.apply(event, RecordedAt::default()));
    Ok(events.len())
}

fn create() -> TenantCommand {
    TenantCommand::Create(TenantSettings { source: ManagedBy::Operator, ..settings("A") })
}

fn rename(name: &str) -> TenantCommand {
    TenantCommand::Update { name: Some(name.to_owned()), origins: None }
}

fn issue(id: &str, for_every: bool) -> TenantCommand {
    let key_id = KeyId::parse(id).unwrap();
    let (kind, hash, source) = (KeyKind::Secret, KeyHash([3; 32]), ManagedBy::Operator);
    TenantCommand::IssueKey { key: KeyIssued { key_id, kind, hash, source, name: None }, for_every }
}

fn revoke(id: &str) -> TenantCommand {
    TenantCommand::RevokeKey(KeyId::parse(id).unwrap())
}

#[test]
fn a_tenant_is_created_once() {
    let mut tenant = Tenant::default();
    assert_eq!(when(&mut tenant, &create()), Ok(1));
    assert_eq!(when(&mut tenant, &create()), Err(TenantRefusal::Exists));
}

#[test]
fn an_update_changes_what_it_names_and_nothing_else() {
    let mut tenant = Tenant::default();
    assert_eq!(when(&mut tenant, &rename("B")), Err(TenantRefusal::NotFound));
    when(&mut tenant, &create()).unwrap();
    assert_eq!(when(&mut tenant, &rename("B")), Ok(1));
    assert_eq!(when(&mut tenant, &rename("B")), Ok(0));
    let origins = Some(vec!["https://b.example".to_owned()]);
    assert_eq!(when(&mut tenant, &TenantCommand::Update { name: None, origins: origins.clone() }), Ok(1));
    let now = tenant.settings().unwrap();
    assert_eq!((now.name.as_str(), Some(&now.origins)), ("B", origins.as_ref()));
    assert_eq!(now.source, ManagedBy::Operator);
}

#[test]
fn what_the_configuration_names_is_changed_there_alone() {
    let mut tenant = Tenant::default();
    reconcile(&mut tenant, desired("A", &["k1"])).unwrap();
    assert_eq!(when(&mut tenant, &create()), Err(TenantRefusal::Exists));
    assert_eq!(when(&mut tenant, &rename("B")), Err(TenantRefusal::Configured));
    assert_eq!(when(&mut tenant, &revoke("k1")), Err(TenantRefusal::Configured));
    assert_eq!(when(&mut tenant, &issue("k2", false)), Ok(1));
    assert_eq!(reconcile(&mut tenant, desired("A", &["k1"])), Ok(0));
}

#[test]
fn the_demo_tenant_is_not_managed() {
    let mut tenant = Tenant::default();
    let demo = TenantSettings { source: ManagedBy::Builtin, ..settings("Demo") };
    reconcile(&mut tenant, DesiredTenant { settings: Some(demo), ..desired("Demo", &["k1"]) }).unwrap();
    assert_eq!(when(&mut tenant, &rename("B")), Err(TenantRefusal::Demo));
    assert_eq!(when(&mut tenant, &issue("k2", false)), Err(TenantRefusal::Demo));
}

#[test]
fn a_key_is_issued_once_and_revoked_once() {
    let mut tenant = Tenant::default();
    assert_eq!(when(&mut tenant, &issue("k1", false)), Err(TenantRefusal::NotFound));
    when(&mut tenant, &create()).unwrap();
    assert_eq!(when(&mut tenant, &issue("k1", false)), Ok(1));
    assert_eq!(when(&mut tenant, &issue("k1", false)), Err(TenantRefusal::KeyTaken));
    assert_eq!(when(&mut tenant, &revoke("k1")), Ok(1));
    assert_eq!(when(&mut tenant, &revoke("k1")), Err(TenantRefusal::KeyNotFound));
    assert_eq!(tenant.keys().count(), 0);
}

#[test]
fn keys_for_every_tenant_need_no_tenant() {
    let mut holder = Tenant::default();
    assert_eq!(when(&mut holder, &issue("k1", true)), Ok(1));
    assert!(holder.settings().is_none());
}

#[test]
fn a_configured_webhook_can_be_stopped_and_not_changed_by_hand() {
    let mut tenant = Tenant::default();
    reconcile(&mut tenant, with_webhook("whsec_a")).unwrap();
    let mut ask =
        |command| when(&mut tenant, &TenantCommand::Webhook(WebhookId::parse("wh-1").unwrap(), command));
    assert_eq!(ask(WebhookCommand::Pause), Ok(1));
    assert_eq!(ask(WebhookCommand::Resume), Ok(1));
    assert_eq!(ask(WebhookCommand::Delete), Err(TenantRefusal::Configured));
    let secret = WebhookSecret::new("whsec_b".to_owned());
    let rotate = WebhookCommand::RotateSecret { secret, previous_until: None };
    assert_eq!(ask(rotate), Err(TenantRefusal::Configured));
    let moved = WebhookChange { url: Some("https://b.example".to_owned()), ..WebhookChange::default() };
    assert_eq!(ask(WebhookCommand::Change(moved)), Err(TenantRefusal::Configured));
}

#[test]
fn a_webhook_needs_a_tenant() {
    let (id, (settings, secret)) = with_webhook("whsec_a").webhooks.pop_first().unwrap();
    let register = WebhookCommand::Register { settings, secret, source: ManagedBy::Operator };
    let command = TenantCommand::Webhook(id, register);
    assert_eq!(when(&mut Tenant::default(), &command), Err(TenantRefusal::NotFound));
}

#[test]
fn the_keys_of_a_tenant_differ_by_what_was_issued_and_revoked_since() {
    let mut before = Tenant::default();
    reconcile(&mut before, desired("A", &["k1", "k2"])).unwrap();
    let mut after = before.clone();
    reconcile(&mut after, desired("A", &["k2", "k3"])).unwrap();
    let mut changes: Vec<_> = after
        .key_changes(&before)
        .map(|change| match change {
            KeyChange::Added(key) => format!("+{}", key.issued.key_id),
            KeyChange::Removed(key) => format!("-{}", key.issued.key_id),
        })
        .collect();
    changes.sort();
    assert_eq!(changes, ["+k3", "-k1"]);
    assert_eq!(after.key_changes(&after).count(), 0);
    assert_eq!(after.key_changes(&Tenant::default()).count(), 2);
}
