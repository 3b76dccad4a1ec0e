//! Lanes to test: a clock that jumps, a log whose reads can be stopped, receivers that answer when they are told to,
//! and nodes that can be killed.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use amoiq_actors::{
    tenants::{TenantHandle, TenantRegistry},
    webhooks::{
        DeliveryOutcome, DeliveryStore, LaneSettings, RetrySchedule, ThrottleSettings, WebhookEndpoint,
        WebhookPayload, WebhookSender, WebhookServices, WebhooksHandle,
    },
};
use amoiq_events::{
    Ambient, Event, EventLog, MessageText, NewEvent, Position, StreamName, TenantId, Timestamp,
    ambient::{Clock, SeededEntropy},
    session::{MessageCreated, MessageSender, SessionEvent},
    store::ExpectedVersion,
    tenant::{DesiredTenant, ManagedBy, TenantCommand, TenantSettings},
    webhook::{WebhookCommand, WebhookSecret, WebhookSettings, WebhookStatus},
};
use amoiq_testkit::stores::ScriptedStore;
use tokio::{
    runtime::{self, Runtime},
    sync::oneshot,
    task::LocalSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    delivery_store::given::{single_node, webhook},
    given::{DEADLINE, cause, id, tenant},
};

/// The wall clock, which follows the clock that jumps, and which a test may set.
pub(crate) struct WallClock {
    start: Instant,
    set_by_ms: AtomicI64,
}

impl WallClock {
    /// Sets the clock forward or back by some hours.
    pub(crate) fn set_by(&self, hours: i64) {
        self.set_by_ms.fetch_add(hours * 3_600_000, Ordering::SeqCst);
    }
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let since = i64::try_from(self.start.elapsed().as_millis()).expect("a short run");
        Timestamp::from_millis(1_705_314_600_000 + since + self.set_by_ms.load(Ordering::SeqCst))
    }
}

/// What survives the end of a node.
pub(crate) struct GivenLanes {
    runtime: Runtime,
    pub(crate) store: ScriptedStore,
    pub(crate) ambient: Ambient,
    pub(crate) wall_clock: Arc<WallClock>,
    pub(crate) outbox: DeliveryStore,
    pub(crate) receivers: Receivers,
    pub(crate) settings: LaneSettings,
    /// The time limit of a test of one node.
    pub(crate) patience: Duration,
}

/// A running service.
pub(crate) struct Node<'a> {
    pub(crate) given: &'a GivenLanes,
    pub(crate) registry: Arc<TenantRegistry>,
    pub(crate) webhooks: WebhooksHandle,
}

impl GivenLanes {
    pub(crate) fn new() -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let clock = {
            let _time = runtime.enter();
            Arc::new(WallClock { start: Instant::now(), set_by_ms: AtomicI64::new(0) })
        };
        Self {
            runtime,
            store: ScriptedStore::new(),
            ambient: Ambient::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(SeededEntropy::new(1))),
            wall_clock: clock,
            outbox: DeliveryStore::in_memory().expect("an outbox"),
            receivers: Receivers::new(),
            settings: lane_settings(),
            patience: 10 * DEADLINE,
        }
    }

    /// Runs a node until its test is over, and then kills it.
    pub(crate) fn node<T>(&self, test: impl AsyncFnOnce(Node<'_>) -> T) -> T {
        let local = LocalSet::new();
        let tested = local.block_on(&self.runtime, async {
            let registry = Arc::new(TenantRegistry::load(&self.store, false).await.expect("tenants"));
            let store = self.store.shared_log();
            self.outbox.adopt(store.epoch(), store.head()).await.expect("its log");
            let webhooks = WebhooksHandle::start_here(
                self.settings.clone(),
                WebhookServices {
                    log: Arc::clone(&store),
                    ambient: self.ambient.clone(),
                    registry: Arc::clone(&registry),
                    deliveries: self.outbox.clone(),
                    leases: single_node(),
                    sender: Arc::new(self.receivers.clone()),
                },
            );
            timeout(self.patience, test(Node { given: self, registry, webhooks })).await.expect("it ends")
        });
        let _inside = self.runtime.enter();
        drop(local);
        tested
    }
}

impl Node<'_> {
    /// A tenant with these endpoints.
    pub(crate) async fn found(&self, tenant: &TenantId, webhooks: &[&str]) {
        let settings =
            TenantSettings { name: String::new(), origins: Vec::new(), source: ManagedBy::Configuration };
        let desired = DesiredTenant { settings: Some(settings), ..DesiredTenant::default() };
        self.execute(tenant, TenantCommand::Reconcile(desired)).await;
        for name in webhooks {
            let register = WebhookCommand::Register {
                settings: endpoint_at("https://a.example"),
                secret: WebhookSecret::new("whsec_a".to_owned()),
                source: ManagedBy::Api,
            };
            self.execute(tenant, TenantCommand::Webhook(webhook(name), register)).await;
        }
    }

    /// Carries out a command about an endpoint of the usual tenant.
    pub(crate) async fn command(&self, name: &str, command: WebhookCommand) {
        self.execute(&tenant(), TenantCommand::Webhook(webhook(name), command)).await;
    }

    /// The status of an endpoint of the usual tenant, as everybody sees it.
    pub(crate) fn status(&self, name: &str) -> WebhookStatus {
        let snapshot = self.registry.current();
        let found =
            snapshot.tenant(&tenant()).expect("a tenant").webhooks().find(|(id, _)| **id == webhook(name));
        found.expect("an endpoint").1.status.clone()
    }

    pub(crate) async fn execute(&self, tenant: &TenantId, command: TenantCommand) {
        let (store, registry) = (self.given.store.shared_log(), Arc::clone(&self.registry));
        let handle = TenantHandle::start(tenant.clone(), store, self.given.ambient.clone(), registry);
        handle.execute(command, cause()).await.expect("it is carried out");
    }

    /// Sends a message in a session of the usual tenant. Returns its position.
    pub(crate) async fn say(&self, session: &str, text: &str) -> Position {
        self.say_at(&tenant(), session, text).await
    }

    pub(crate) async fn say_at(&self, tenant: &TenantId, session: &str, text: &str) -> Position {
        self.append(tenant, session, self.given.message(text)).await
    }

    pub(crate) async fn append(&self, tenant: &TenantId, session: &str, event: NewEvent) -> Position {
        let stream = StreamName::session(tenant, &id(session));
        self.given.store.append(stream, ExpectedVersion::Any, vec![event]).await.expect("it is stored");
        self.given.store.head()
    }
}

impl GivenLanes {
    /// The event of a message.
    pub(crate) fn message(&self, text: &str) -> NewEvent {
        let message = MessageCreated {
            message_id: self.ambient.message_id(),
            seq: 1,
            text: MessageText::parse(text, 100).expect("a text"),
            sender: MessageSender::User,
            author: None,
            user_id: None,
            verified: None,
            claimed_user_id: None,
            sender_name: None,
            client_message_id: None,
            client_timestamp: None,
            page: None,
            conversation_id: None,
        };
        Event::Session(SessionEvent::MessageCreated(message)).envelope(&self.ambient, &cause())
    }
}

/// Waits until a condition is true.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !is_so().await {
            sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(DEADLINE, looking).await.is_ok(), "{what}");
}

/// A call that a receiver got.
struct Call {
    endpoint: Arc<WebhookEndpoint>,
    text: String,
    at: Instant,
    /// How to answer it, if it was not answered at once.
    reply: Option<oneshot::Sender<DeliveryOutcome>>,
}

/// All receivers. Clones share them.
#[derive(Clone)]
pub(crate) struct Receivers(Arc<Mutex<ReceiverState>>);

struct ReceiverState {
    calls: Vec<Call>,
    /// The answer that each text gets at once; `None` when callers have to wait.
    usual: Option<fn(&str) -> u16>,
}

impl Receivers {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(ReceiverState { calls: Vec::new(), usual: Some(|_| 200) })))
    }

    fn state(&self) -> MutexGuard<'_, ReceiverState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on they take everything.
    pub(crate) fn take_all(&self) {
        self.answer_by(|_| 200);
    }

    /// From now on they answer by the text of the message.
    pub(crate) fn answer_by(&self, status_of: fn(&str) -> u16) {
        self.state().usual = Some(status_of);
    }

    /// From now on callers have to wait.
    pub(crate) fn hang(&self) {
        self.state().usual = None;
    }

    /// Answers a waiting call, counted from 0.
    pub(crate) fn reply(&self, call: usize, answer: DeliveryOutcome) {
        let reply = self.state().calls.get_mut(call).and_then(|call| call.reply.take()).expect("it waits");
        drop(reply.send(answer));
    }

    /// The texts that they got, in order.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.state().calls.iter().map(|call| call.text.clone()).collect()
    }

    /// The URLs that were called, in order.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.state().calls.iter().map(|call| call.endpoint.webhook.settings.url.clone()).collect()
    }

    /// When an endpoint was called.
    pub(crate) fn times(&self, name: &str) -> Vec<Instant> {
        let state = self.state();
        state.calls.iter().filter(|call| call.endpoint.id == webhook(name)).map(|call| call.at).collect()
    }

    /// Waits until there were this many calls.
    pub(crate) async fn called(&self, count: usize) {
        let what = format!("{count} calls come");
        until(&what, async || self.state().calls.len() >= count).await;
    }
}

impl WebhookSender for Receivers {
    fn send(
        &self,
        endpoint: Arc<WebhookEndpoint>,
        content: WebhookPayload,
    ) -> Pin<Box<dyn Future<Output = DeliveryOutcome> + Send>> {
        let text = match &content {
            WebhookPayload::Message(announcement) => announcement.message.text.as_str().to_owned(),
            WebhookPayload::Test { .. } => "a test".to_owned(),
        };
        let mut state = self.state();
        let (reply, replied) = oneshot::channel();
        let usual = state.usual.map(|status_of| answer(status_of(&text)));
        let reply = usual.is_none().then_some(reply);
        state.calls.push(Call { endpoint, text, at: Instant::now(), reply });
        Box::pin(async move {
            match usual {
                Some(answer) => answer,
                None => replied.await.expect("the test answers or ends"),
            }
        })
    }
}

/// The outcome of an answer with this status.
pub(crate) fn answer(status: u16) -> DeliveryOutcome {
    let error = (!(200..300).contains(&status)).then(|| format!("HTTP {status}"));
    DeliveryOutcome { status: Some(status), error, ..DeliveryOutcome::default() }
}

pub(crate) fn endpoint_at(url: &str) -> WebhookSettings {
    WebhookSettings {
        url: url.to_owned(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: std::collections::BTreeMap::new(),
        rate_per_second: None,
    }
}

pub(crate) fn lane_settings() -> LaneSettings {
    LaneSettings {
        schedule: RetrySchedule { waits: vec![Duration::ZERO; 100], jitter_percent: 0 },
        throttle: ThrottleSettings {
            in_flight: 4,
            breaker_failures: 5,
            breaker_min: Duration::from_secs(1),
            breaker_max: Duration::from_secs(60),
        },
        attempt_timeout: 5 * DEADLINE,
        in_flight: 64,
        pending: 100,
        refused_hold: Duration::from_mins(5),
        disable_after: Duration::from_hours(100),
    }
}
