//! The registry shows exactly what tenants' actors decided and what is in the log.

use std::{collections::BTreeMap, sync::Arc};

use amoiq_actors::tenants::{TenantError, TenantFollower, TenantHandle, TenantRegistry};
use amoiq_events::{
    Event, EventLog, KeyId, NewEvent, SessionId, StreamName, TenantId, WebhookId,
    store::{AppendError, ExpectedVersion},
    tenant::{
        DesiredTenant, KeyHash, KeyKind, ManagedBy, SessionErased, TenantCommand, TenantEvent, TenantSettings,
    },
    webhook::{WebhookSecret, WebhookSettings},
};
use amoiq_testkit::stores::ScriptedAppend;
use tokio::{sync::Notify, task::spawn_local};

use crate::given::{Given, cause, paused};

#[test]
fn reconciling_publishes_the_result_and_a_second_time_changes_nothing() {
    paused(async {
        let (given, registry) = given_nothing().await;
        let acme = start(&given, &registry, "acme");
        assert_eq!(
            acme.execute(wants("acme", ManagedBy::Configuration, &[1, 2]), cause()).await.ok(),
            Some(3)
        );
        assert_eq!(name(&registry, "acme").as_deref(), Some("acme"));
        assert_eq!(registry.current().grants(&KeyHash([1; 32])).len(), 1);
        let changes = registry.changes();
        assert_eq!(
            acme.execute(wants("acme", ManagedBy::Configuration, &[1, 2]), cause()).await.ok(),
            Some(0)
        );
        assert!(!changes.has_changed().expect("the registry is there"), "nobody is told of nothing");
        assert_eq!(acme.execute(wants("Acme", ManagedBy::Configuration, &[2]), cause()).await.ok(), Some(2));
        assert!(changes.has_changed().expect("the registry is there"));
        assert_eq!(name(&registry, "acme").as_deref(), Some("Acme"));
        assert_eq!(registry.current().grants(&KeyHash([1; 32])), [], "a revoked key gives nothing");
    });
}

#[test]
fn a_loaded_registry_shows_what_was_published() {
    paused(async {
        let (given, registry) = given_nothing().await;
        for id in ["acme", "other"] {
            let command = wants(id, ManagedBy::Configuration, &[7, 8]);
            start(&given, &registry, id).execute(command, cause()).await.expect("it is made");
        }
        let loaded = TenantRegistry::load(&given.store, true).await.expect("the log");
        let (loaded, published) = (loaded.current(), registry.current());
        assert!(loaded.tenants().count() == 2 && published.tenants().count() == 2);
        for (id, tenant) in published.tenants() {
            assert_eq!(loaded.tenant(id), Some(tenant));
        }
        let grants = loaded.grants(&KeyHash([7; 32]));
        assert_eq!(grants.len(), 2, "one key may be good for two tenants");
        assert!(published.grants(&KeyHash([7; 32])).iter().all(|grant| grants.contains(grant)));
        let key = KeyId::parse("key-7").expect("an id");
        assert!(loaded.tenants().all(|(id, _)| loaded.grant_of(&key, id).is_some()));
    });
}

#[test]
fn the_demo_is_hidden_when_there_is_another_tenant() {
    paused(async {
        let (given, registry) = given_nothing().await;
        let demo = start(&given, &registry, "demo");
        demo.execute(wants("demo", ManagedBy::Builtin, &[1]), cause()).await.expect("it is made");
        assert!(name(&registry, "demo").is_some());
        assert_eq!(registry.current().grants(&KeyHash([1; 32])).len(), 1);
        let acme = start(&given, &registry, "acme");
        acme.execute(wants("acme", ManagedBy::Configuration, &[2]), cause()).await.expect("it is made");
        assert_eq!(name(&registry, "demo"), None);
        assert_eq!(registry.current().grants(&KeyHash([1; 32])), [], "its keys give nothing any more");
        assert_eq!(registry.current().known().count(), 2);
    });
}

#[test]
fn the_demo_is_not_served_where_it_is_not_allowed() {
    paused(async {
        let (given, registry) = given_nothing().await;
        let demo = start(&given, &registry, "demo");
        demo.execute(wants("demo", ManagedBy::Builtin, &[1]), cause()).await.expect("it is made");
        let elsewhere = TenantRegistry::load(&given.store, false).await.expect("the log");
        assert_eq!(name(&elsewhere, "demo"), None);
        assert_eq!(elsewhere.current().grants(&KeyHash([1; 32])), []);
    });
}

#[test]
fn an_append_with_an_unknown_outcome_is_published_by_the_retry() {
    paused(async {
        let (given, registry) = given_nothing().await;
        let acme = start(&given, &registry, "acme");
        given.store.next(ScriptedAppend::DurableButUnknown);
        let answer = acme.execute(wants("acme", ManagedBy::Configuration, &[1]), cause()).await;
        assert!(matches!(answer, Err(TenantError::Append(AppendError::Unavailable(_)))), "{answer:?}");
        let again = acme.execute(wants("acme", ManagedBy::Configuration, &[1]), cause()).await;
        assert_eq!(again.ok(), Some(0), "it is in the log already");
        assert_eq!(name(&registry, "acme").as_deref(), Some("acme"));
    });
}

#[test]
fn a_slow_answer_does_not_overwrite_a_later_one() {
    paused(async {
        let (given, registry) = given_nothing().await;
        let (slow, fast) = (start(&given, &registry, "acme"), start(&given, &registry, "acme"));
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::AnswerHeld(Arc::clone(&may)));
        let first = spawn_local(async move {
            slow.execute(wants("old", ManagedBy::Configuration, &[]), cause()).await.map(drop)
        });
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        fast.execute(wants("new", ManagedBy::Configuration, &[]), cause()).await.expect("it is renamed");
        may.notify_one();
        first.await.expect("it ends").expect("it is made");
        assert_eq!(name(&registry, "acme").as_deref(), Some("new"));
    });
}

#[test]
fn two_commands_at_once_are_both_executed() {
    paused(async {
        let (given, registry) = given_nothing().await;
        let acme = start(&given, &registry, "acme");
        acme.execute(wants("acme", ManagedBy::Configuration, &[]), cause()).await.expect("it is made");
        let register = |number: u8| {
            let settings = WebhookSettings {
                url: format!("https://{number}.example"),
                events: Vec::new(),
                description: None,
                headers: BTreeMap::new(),
                rate_per_second: None,
            };
            let id = WebhookId::parse(&format!("wh-{number}")).expect("an id");
            let secret = WebhookSecret::new("whsec_a".to_owned());
            let command = TenantCommand::RegisterWebhook { id, settings, secret, limit: 2 };
            let handle = start(&given, &registry, "acme");
            spawn_local(async move { handle.execute(command, cause()).await })
        };
        let mut made = 0;
        for asked in [1, 2, 3].map(register) {
            match asked.await.expect("it ends") {
                Ok(events) => made += events,
                Err(error) => assert!(matches!(error, TenantError::Refused(_)), "{error}"),
            }
        }
        assert_eq!(made, 2, "as many as there may be");
        let known = registry.current().tenant(&tenant("acme")).map(|acme| acme.webhooks().count());
        assert_eq!(known, Some(2));
    });
}

#[test]
fn a_command_reads_only_the_new_events_of_a_tenant_whose_sessions_are_erased_all_the_time() {
    paused(async {
        let (given, registry) = given_nothing().await;
        let acme = start(&given, &registry, "acme");
        acme.execute(wants("acme", ManagedBy::Configuration, &[1]), cause()).await.expect("it is made");
        for _ in 0..4 {
            let many = (0..1_000).map(|_| erased(&given)).collect();
            let stream = StreamName::tenant(&tenant("acme"));
            given.store.append(stream, ExpectedVersion::Any, many).await.expect("they are erased");
        }
        let reading = |name: &'static str, reads: usize| {
            let (given, registry, acme) = (&given, &registry, &acme);
            async move {
                let before = given.store.reads();
                let renamed = acme.execute(wants(name, ManagedBy::Configuration, &[1]), cause()).await;
                assert_eq!(renamed.ok(), Some(1));
                assert_eq!(self::name(registry, "acme").as_deref(), Some(name));
                assert_eq!(given.store.reads() - before, reads, "{name}");
            }
        };
        reading("all that is new", 5).await;
        reading("with nothing new", 1).await;
        (0..15).for_each(|_| given.store.next(ScriptedAppend::After(vec![erased(&given)])));
        // The first attempt finds nothing new, each later one the session that was erased in between.
        reading("with one that is faster", 1 + 2 * 15).await;
    });
}

#[test]
fn a_tenant_that_one_node_changes_is_changed_on_the_other() {
    paused(async {
        let [a, b] = Given::two_nodes();
        let [on_a, on_b] = [&a, &b].map(async |node| {
            let from = node.store.head();
            let registry = TenantRegistry::load(&node.store, true).await.expect("an empty log");
            let registry = Arc::new(registry);
            TenantFollower::start(&registry, &node.store.shared_log(), from);
            registry
        });
        let (on_a, on_b) = (on_a.await, on_b.await);
        let demo = start(&a, &on_a, "demo");
        demo.execute(wants("demo", ManagedBy::Builtin, &[9]), cause()).await.expect("it is made");
        let acme = start(&a, &on_a, "acme");
        acme.execute(wants("acme", ManagedBy::Configuration, &[1, 2]), cause()).await.expect("it is made");
        let mut changes = on_b.changes();
        b.store.memory.follow();
        changes.changed().await.expect("the registry is there");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(name(&on_b, "acme").as_deref(), Some("acme"));
        assert_eq!(name(&on_b, "demo"), None, "a customer's tenant ends the demo");
        assert_eq!(on_b.current().grants(&KeyHash([1; 32])).len(), 1);
        // What follows there is decided on what both did.
        let there = start(&b, &on_b, "acme");
        there.execute(wants("Acme", ManagedBy::Configuration, &[2]), cause()).await.expect("it is renamed");
        assert_eq!(on_b.current().grants(&KeyHash([1; 32])), [], "a revoked key gives nothing");
        a.store.memory.follow();
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(name(&on_a, "acme").as_deref(), Some("Acme"));
        assert_eq!(on_a.current().grants(&KeyHash([1; 32])), []);
    });
}

fn erased(given: &Given) -> NewEvent {
    let session_id = SessionId::parse("session-that-is-old").expect("an id");
    let erased = TenantEvent::SessionErased(SessionErased { session_id });
    Event::Tenant(erased).envelope(&given.ambient, &cause())
}

async fn given_nothing() -> (Given, Arc<TenantRegistry>) {
    let given = Given::new();
    let registry = TenantRegistry::load(&given.store, true).await.expect("an empty log");
    (given, Arc::new(registry))
}

fn start(given: &Given, registry: &Arc<TenantRegistry>, id: &str) -> TenantHandle {
    TenantHandle::start(tenant(id), given.store.shared_log(), given.ambient.clone(), Arc::clone(registry))
}

fn wants(name: &str, source: ManagedBy, keys: &[u8]) -> TenantCommand {
    let settings = TenantSettings { name: name.to_owned(), origins: vec!["*".to_owned()], source };
    let key = |number: &u8| {
        let id = KeyId::parse(&format!("key-{number}")).expect("an id");
        (id, (KeyKind::Widget, KeyHash([*number; 32])))
    };
    let keys = keys.iter().map(key).collect();
    TenantCommand::Reconcile(DesiredTenant { settings: Some(settings), keys, ..DesiredTenant::default() })
}

fn name(registry: &TenantRegistry, id: &str) -> Option<String> {
    let current = registry.current();
    let settings = current.tenant(&tenant(id))?.settings()?;
    Some(settings.name.clone())
}

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).expect("an id")
}
