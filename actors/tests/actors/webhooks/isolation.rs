//! What is wrong with one endpoint does not affect any other.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use amoiq_actors::{
    tenants::{TenantHandle, TenantRegistry},
    webhooks::{
        DeliveriesQuery, DeliveryOutcome, DeliveryStatus, LaneError, LaneProgress, LaneSettings,
        RetrySchedule, ThrottleSettings, WebhookEndpoint, WebhookPayload, WebhookSender, WebhookServices,
        WebhooksHandle,
    },
};
use amoiq_events::{
    TenantId, WebhookId,
    tenant::{DesiredTenant, ManagedBy, TenantCommand, TenantSettings},
    webhook::{WebhookCommand, WebhookSecret, WebhookSettings},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    delivery_store::given::{GivenOutbox, at, delivery, free_lease, single_node, webhook},
    given::{DEADLINE, Given, cause, id, in_real_time, tenant},
    webhooks::given::{GivenLanes, until},
};

/// Who was called, in order.
#[derive(Clone, Default)]
struct Called(Arc<Mutex<Vec<WebhookId>>>);

impl WebhookSender for Called {
    fn send(
        &self,
        endpoint: Arc<WebhookEndpoint>,
        _: WebhookPayload,
    ) -> Pin<Box<dyn Future<Output = DeliveryOutcome> + Send>> {
        self.0.lock().expect("nobody panicked").push(endpoint.id.clone());
        Box::pin(std::future::ready(DeliveryOutcome { status: Some(200), ..DeliveryOutcome::default() }))
    }
}

#[test]
fn an_endpoint_with_damaged_deliveries_does_not_stop_others_from_being_served() {
    keeps_no_other_from_being_served("UPDATE deliveries SET tries = tries + 1");
}

#[test]
fn an_endpoint_with_a_damaged_lane_does_not_stop_others_from_being_served() {
    keeps_no_other_from_being_served("UPDATE lanes SET cursor = cursor + 1");
}

#[test]
fn a_tenant_with_slow_endpoints_leaves_permits_for_others() {
    let mut given = GivenLanes::new();
    (given.settings.in_flight, given.settings.throttle.in_flight) = (8, 1);
    given.receivers.hang();
    given.node(async |node| {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        node.found(&tenant(), &names).await;
        node.say("session-of-many", "hello").await;
        given.receivers.called(1).await;
        let other = TenantId::parse("other").expect("an id");
        node.found(&other, &["z"]).await;
        node.say_at(&other, "session-of-one", "hello").await;
        until("the other tenant is served", async || given.receivers.times("z").len() == 1).await;
    });
}

#[test]
fn a_tenant_whose_endpoints_read_the_log_leaves_turns_for_others() {
    let given = GivenLanes::new();
    given.node(async |node| {
        let (names, other) = (["a", "b", "c"], TenantId::parse("other").expect("an id"));
        node.found(&tenant(), &names).await;
        node.found(&other, &["z"]).await;
        node.say("session-of-many", "hello").await;
        node.say_at(&other, "session-of-one", "hello").await;
        given.receivers.called(4).await;
        given.store.hold_readings();
        for name in names {
            node.webhooks.replay(&tenant(), &webhook(name), at(0), None).await.expect("it begins");
        }
        node.webhooks.replay(&other, &webhook("z"), at(0), None).await.expect("it begins");
        until("two read", async || given.store.held_readings() == 2).await;
        given.store.release_reading();
        given.store.release_reading();
        until("the other tenant is served", async || given.receivers.times("z").len() == 2).await;
    });
}

#[test]
fn an_endpoint_whose_lane_cannot_write_does_not_stop_others_from_forgetting() {
    let given = GivenLanes::new();
    given.node(async |node| {
        let names = ["a", "b", "c"];
        node.found(&tenant(), &names).await;
        let end = node.say("erased", "hello").await;
        let query = DeliveriesQuery { status: Some(DeliveryStatus::Delivered), before: None, limit: 100 };
        let kept = async |name| {
            node.webhooks.deliveries(&tenant(), &webhook(name), query).await.expect("an answer").len()
        };
        for name in names {
            until("it is noted", async || kept(name).await == 1).await;
        }
        for (lane, owner) in given.outbox.lanes().await.expect("lanes") {
            if owner.expect("it is whole").1 != webhook("c") {
                given.outbox.remove(lane).await.expect("a lane that cannot write any more");
            }
        }
        let gone = Arc::new(HashMap::from([(id("erased"), at(end.as_u64() + 1))]));
        let began = Instant::now();
        let erased = timeout(DEADLINE, node.webhooks.erase(&tenant(), &gone)).await;
        assert_eq!(kept("c").await, 0);
        let erased = erased.expect("it ends");
        assert!(matches!(erased, Err(LaneError::Late)), "{erased:?}");
        assert_eq!(began.elapsed().as_secs(), 5, "they are waited for together");
    });
}

fn keeps_no_other_from_being_served(damage: &str) {
    in_real_time(async {
        let given = Given::new();
        let registry = Arc::new(TenantRegistry::load(&given.store, false).await.expect("tenants"));
        let owner = TenantHandle::start(
            tenant(),
            given.store.shared_log(),
            given.ambient.clone(),
            Arc::clone(&registry),
        );
        let settings =
            TenantSettings { name: String::new(), origins: Vec::new(), source: ManagedBy::Configuration };
        let desired = DesiredTenant { settings: Some(settings), ..DesiredTenant::default() };
        owner.execute(TenantCommand::Reconcile(desired), cause()).await.expect("a tenant");
        for name in ["a", "b"] {
            let register = WebhookCommand::Register {
                settings: endpoint(),
                secret: WebhookSecret::new("whsec_a".to_owned()),
                source: ManagedBy::Api,
            };
            owner
                .execute(TenantCommand::Webhook(webhook(name), register), cause())
                .await
                .expect("an endpoint");
        }

        let outbox = GivenOutbox::new();
        let store = given.store.shared_log();
        outbox.outbox.adopt(store.epoch(), store.head()).await.expect("its log");
        let lane = outbox.lane().await;
        outbox
            .outbox
            .record(
                &free_lease(),
                lane,
                LaneProgress::default(),
                vec![(delivery(3, DeliveryStatus::Pending), None)],
            )
            .await
            .expect("it is recorded");
        outbox.conn().execute(damage, []).expect("it is damaged");

        let called = Called::default();
        let _webhooks = WebhooksHandle::start_here(
            lane_settings(),
            WebhookServices {
                log: Arc::clone(&store),
                ambient: given.ambient.clone(),
                registry,
                deliveries: outbox.outbox.clone(),
                leases: single_node(),
                sender: Arc::new(called.clone()),
            },
        );
        given.say("session-of-all", "hello").await;
        let is_called = async {
            while called.0.lock().expect("nobody panicked").is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, is_called).await.expect("the other endpoint is served");
        assert_eq!(*called.0.lock().expect("nobody panicked"), [webhook("b")]);
    });
}

fn endpoint() -> WebhookSettings {
    WebhookSettings {
        url: "https://a.example".to_owned(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: std::collections::BTreeMap::new(),
        rate_per_second: None,
    }
}

fn lane_settings() -> LaneSettings {
    LaneSettings {
        schedule: RetrySchedule { waits: vec![Duration::ZERO], jitter_percent: 0 },
        throttle: ThrottleSettings {
            in_flight: 1,
            breaker_failures: 5,
            breaker_min: DEADLINE,
            breaker_max: DEADLINE,
        },
        attempt_timeout: DEADLINE,
        in_flight: 1,
        pending: 10,
        refused_hold: Duration::from_mins(5),
        disable_after: DEADLINE,
    }
}
