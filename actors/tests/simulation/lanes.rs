//! Lanes over receivers that do anything, in nodes that crash: what is delivered is judged against the
//! log. On one thread, with a clock that jumps, so that a seed always gives the same run.
//!
//! Sessions write; the store loses appends and refuses reads; endpoints are paused, resumed, moved, asked for what they
//! had already and told to skip what waits; receivers fail, hang, refuse some messages or all, ask to be left alone, or
//! take a message and say that they did not; the wall clock is set. `AMOIQ_SIM_SEED` and `AMOIQ_SIM_SEEDS` as for the sessions.
//!
//! With several nodes, they are also taken for dead, cut off, and leave. A seed then gives the same run only as far as they
//! hear of changes in the same order.

use std::{
    cell::RefCell,
    ops::Bound,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use amoiq_actors::{
    tenants::{TenantHandle, TenantRegistry},
    webhooks::{
        DeliveryStatus, DeliveryStore, LaneSettings, RetrySchedule, SkipQuery, ThrottleSettings,
        WebhookServices, WebhooksHandle,
    },
};
use amoiq_events::{
    Ambient, Event, EventLog, MessageText, Position, SessionId, StreamName, TenantId, WebhookId,
    ambient::{Clock, SeededEntropy},
    cluster::HeldLease,
    session::{MessageCreated, MessageSender, SessionEvent},
    store::{ExpectedVersion, memory::MemoryStore},
    tenant::{ManagedBy, TenantCommand, TenantSettings},
    webhook::{WebhookCommand, WebhookSecret, WebhookStatus},
};
use amoiq_testkit::stores::{FaultyStore, SeededDice};
use tokio::{
    runtime,
    task::{LocalSet, spawn_local},
    time::{Instant, sleep, timeout},
};

use self::{
    given_endpoints::{cause, endpoint_settings, endpoints, tenant_id},
    receivers::Receivers,
    simulated_leases::LeaseTable,
    wall_clock::WallClock,
};

mod given_endpoints;
mod judge;
mod receivers;
mod simulated_leases;
mod wall_clock;

/// The tenants; the last one has no endpoint.
const TENANTS: [&str; 3] = ["acme", "umbrella", "silent"];

/// Sessions of each tenant.
const SESSIONS: u64 = 4;

/// After so many crashes nothing fails any more, so that the run ends.
const CRASHES: u32 = 6;

/// No node lives longer before it crashes.
const LIFE_MILLIS: u64 = 4_000;

/// How long the last node may take until nothing waits: far more than it needs.
const PATIENCE: Duration = Duration::from_secs(100_000);

/// What a run has.
struct World {
    memory: MemoryStore,
    store: FaultyStore,
    ambient: Ambient,
    wall_clock: Arc<WallClock>,
    dice: SeededDice,
    outbox: DeliveryStore,
    receivers: Receivers,
    settings: LaneSettings,
    replays: RefCell<Vec<Asked>>,
    /// Owners ask for what they had already. Where they do not, every repeat needs a crash.
    repeats: bool,
    /// How many nodes there are.
    nodes: usize,
    leases: LeaseTable,
}

/// A replay that was begun.
#[derive(Debug)]
struct Asked {
    endpoint: EndpointName,
    after: Position,
    until: Position,
    at: Instant,
}

/// An endpoint, wherever it is named.
type EndpointName = (TenantId, WebhookId);

/// Runs a seed on one node or several, and gives what the receivers saw.
pub(crate) fn run(seed: u64, nodes: usize) -> String {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let world = {
        let _time = runtime.enter();
        Rc::new(World::new(seed, nodes))
    };
    LocalSet::new().block_on(&runtime, world.found());
    for crash in 0..=CRASHES {
        let is_last = crash == CRASHES;
        if is_last {
            world.store.calm_down();
            world.receivers.calm_down();
        }
        let node = LocalSet::new();
        node.block_on(&runtime, world.live(is_last));
        // The crash: every lane and every attempt on its way is gone.
        let inside = runtime.enter();
        world.receivers.crashed();
        drop(node);
        drop(inside);
    }
    LocalSet::new().block_on(&runtime, judge::judge(&world));
    world.receivers.digest()
}

impl World {
    fn new(seed: u64, nodes: usize) -> Self {
        let dice = SeededDice::new(seed);
        let memory = MemoryStore::new();
        let entropy = Arc::new(SeededEntropy::new(seed.rotate_left(32)));
        let settings = LaneSettings {
            schedule: RetrySchedule {
                waits: (0..10_000).map(|tries: u64| Duration::from_millis(50 * tries.min(20))).collect(),
                jitter_percent: 10,
            },
            throttle: ThrottleSettings {
                in_flight: dice.pick(&[1, 3, 16]),
                breaker_failures: dice.pick(&[2, 5]),
                breaker_min: Duration::from_millis(20),
                breaker_max: Duration::from_millis(500),
            },
            attempt_timeout: Duration::from_millis(300),
            in_flight: dice.pick(&[2, 64]),
            pending: dice.pick(&[5, 20, 1_000]),
            refused_hold: dice.pick(&[Duration::from_millis(500), Duration::from_secs(5)]),
            disable_after: Duration::from_hours(1_000),
        };
        let leases = LeaseTable::new(memory.epoch());
        let table = leases.clone();
        let guard = Arc::new(move |lease: &HeldLease| table.guards(lease));
        let wall_clock = Arc::new(WallClock { start: Instant::now(), set_by_ms: AtomicI64::new(0) });
        Self {
            store: FaultyStore::new(memory.clone(), dice.fork(), dice.pick(&[0, 5, 20])),
            memory,
            ambient: Ambient::new(Arc::clone(&wall_clock) as Arc<dyn Clock>, entropy),
            wall_clock,
            outbox: DeliveryStore::in_memory_guarded(guard).expect("an outbox"),
            receivers: Receivers::new(&dice),
            settings,
            replays: RefCell::default(),
            // Only the node that has a lane does what its owner asks.
            repeats: dice.one_in(2) && nodes == 1,
            nodes,
            leases,
            dice,
        }
    }

    /// The tenants and their endpoints.
    async fn found(&self) {
        let registry = self.registry().await;
        for tenant in TENANTS {
            let settings = TenantSettings {
                name: tenant.to_owned(),
                origins: Vec::new(),
                source: ManagedBy::Configuration,
            };
            let desired =
                amoiq_events::tenant::DesiredTenant { settings: Some(settings), ..Default::default() };
            self.command(&registry, &tenant_id(tenant), TenantCommand::Reconcile(desired)).await;
        }
        for (tenant, webhook) in endpoints() {
            let command = WebhookCommand::Register {
                settings: endpoint_settings("https://a.example"),
                secret: WebhookSecret::new("whsec_a".to_owned()),
                source: ManagedBy::Api,
            };
            self.command(&registry, &tenant, TenantCommand::Webhook(webhook, command)).await;
        }
    }

    async fn registry(&self) -> Arc<TenantRegistry> {
        Arc::new(TenantRegistry::load(&self.memory, true).await.expect("tenants"))
    }

    /// Something about a tenant; by the store that does not fail, since that is judged elsewhere.
    async fn command(&self, registry: &Arc<TenantRegistry>, tenant: &TenantId, command: TenantCommand) {
        let store: Arc<dyn EventLog> = Arc::new(self.memory.clone());
        let handle = TenantHandle::start(tenant.clone(), store, self.ambient.clone(), Arc::clone(registry));
        handle.execute(command, cause()).await.expect("it is carried out");
    }

    /// A node lives until it crashes; the last one until nothing waits.
    async fn live(self: &Rc<Self>, is_last: bool) {
        let registry = self.registry().await;
        let store: Arc<dyn EventLog> = Arc::new(self.store.clone());
        self.outbox.adopt(store.epoch(), store.head()).await.expect("its log");
        let start = |leases| {
            let services = WebhookServices {
                log: Arc::clone(&store),
                ambient: self.ambient.clone(),
                // Every node sees a change at once.
                registry: Arc::clone(&registry),
                deliveries: self.outbox.clone(),
                leases: Arc::new(leases),
                sender: Arc::new(self.receivers.clone()),
            };
            WebhooksHandle::start_here(self.settings.clone(), services)
        };
        let webhooks: Vec<_> = self.leases.start(self.nodes).into_iter().map(start).collect();
        let disturbing = spawn_local(Rc::clone(self).disturb());
        let writers: Vec<_> = (0..2).map(|_| spawn_local(Rc::clone(self).write())).collect();
        let owner = spawn_local(Rc::clone(self).ask(registry, webhooks[0].clone(), is_last));
        if !is_last {
            sleep(self.dice.millis_below(LIFE_MILLIS)).await;
            return;
        }
        for writer in writers {
            writer.await.expect("a writer ends");
        }
        owner.await.expect("the owner ends");
        disturbing.await.expect("the disturbance ends");
        timeout(PATIENCE, self.drained(&webhooks)).await.expect("the backlog never drained");
    }

    /// Sessions write.
    async fn write(self: Rc<Self>) {
        for _ in 0..self.dice.below(30) {
            sleep(self.dice.millis_below(200)).await;
            let tenant = tenant_id(self.dice.pick(&TENANTS));
            let session = SessionId::parse(&format!("session-{}", self.dice.below(SESSIONS))).expect("an id");
            let text = format!("{tenant} {}", self.ambient.now());
            let message = MessageCreated {
                message_id: self.ambient.message_id(),
                seq: 1,
                text: MessageText::parse(&text, 1_000).expect("a text"),
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
            let event = Event::Session(SessionEvent::MessageCreated(message));
            let envelope = event.envelope(&self.ambient, &cause());
            let stream = StreamName::session(&tenant, &session);
            // What the store refused may be in the log or not: the log is what is judged by.
            let _perhaps = self.store.append(stream, ExpectedVersion::Any, vec![envelope]).await;
        }
    }

    /// Endpoints' owners do what they may. In the end every endpoint is served.
    async fn ask(self: Rc<Self>, registry: Arc<TenantRegistry>, webhooks: WebhooksHandle, is_last: bool) {
        for _ in 0..self.dice.below(8) {
            sleep(self.dice.millis_below(500)).await;
            let (tenant, webhook) = self.dice.pick(&endpoints());
            if self.dice.one_in(4) {
                self.set_clock();
            }
            let command = match self.dice.below(if self.repeats { 8 } else { 4 }) {
                0 => WebhookCommand::Pause,
                1 | 2 => WebhookCommand::Resume,
                3 => WebhookCommand::Update(endpoint_settings(
                    self.dice.pick(&["https://b.example", "https://c.example"]),
                )),
                4 => {
                    self.replay(&webhooks, (tenant, webhook)).await;
                    continue;
                }
                5 => {
                    // What it owed is not owed any more; whatever is new is.
                    if webhooks.cancel_replay(&tenant, &webhook).await.is_ok() {
                        self.replays
                            .borrow_mut()
                            .retain(|asked| asked.endpoint != (tenant.clone(), webhook.clone()));
                    }
                    continue;
                }
                6 => {
                    self.skip(&webhooks, (tenant, webhook)).await;
                    continue;
                }
                _ => {
                    self.receivers.asked_again(&tenant, &webhook);
                    if let Some(message) = self.receivers.any_message(&tenant, &webhook, &self.dice) {
                        let _refused = webhooks.redeliver(&tenant, &webhook, message).await;
                    }
                    continue;
                }
            };
            self.command(&registry, &tenant, TenantCommand::Webhook(webhook, command)).await;
        }
        if is_last {
            for (tenant, webhook) in endpoints() {
                self.command(&registry, &tenant, TenantCommand::Webhook(webhook, WebhookCommand::Resume))
                    .await;
            }
        }
    }

    /// Somebody sets the clock, by up to a day forward or back.
    fn set_clock(&self) {
        let hours = i64::try_from(self.dice.below(49)).expect("few") - 24;
        self.wall_clock.set_by_ms.fetch_add(hours * 3_600_000, Ordering::SeqCst);
    }

    /// An owner lets go of what waits: of all of it that was there, or of one session's.
    async fn skip(&self, webhooks: &WebhooksHandle, endpoint: EndpointName) {
        let session = format!("session-{}", self.dice.below(SESSIONS));
        let session = self.dice.one_in(2).then(|| SessionId::parse(&session).expect("an id"));
        let status = self.dice.pick(&[DeliveryStatus::Pending, DeliveryStatus::Refused]);
        // It may be carried out although a crash cuts its answer off.
        let upto = self.memory.head();
        self.receivers.skipped(&endpoint, session.clone(), upto);
        let query = SkipQuery { status, upto, session };
        let _refused = webhooks.skip_all(&endpoint.0, &endpoint.1, query).await;
    }

    /// An owner asks for a part of the log again.
    async fn replay(&self, webhooks: &WebhooksHandle, endpoint: EndpointName) {
        let (tenant, webhook) = &endpoint;
        let head = self.memory.head().as_u64();
        let (one, other) = (self.dice.below(head), self.dice.below(head));
        let within = async |number| {
            let bound = Bound::Included(Position::from_u64(number));
            self.memory.newest_within(bound).await.expect("memory can be read")
        };
        let (after, until) = (within(one.min(other)).await, within(one.max(other)).await);
        self.receivers.asked_again(tenant, webhook);
        let at = Instant::now();
        // One that is refused, or that a crash cut off, owes nothing.
        if webhooks.replay(tenant, webhook, after, Some(until)).await.is_ok()
            && let Ok(standing) = webhooks.status(tenant, webhook).await
            && let Some(replay) = standing.replay
        {
            let asked = Asked { after: replay.after, until: replay.until, endpoint, at };
            self.replays.borrow_mut().push(asked);
        }
    }

    /// Nodes lose their leases.
    async fn disturb(self: Rc<Self>) {
        if self.nodes > 1 {
            for _ in 0..self.dice.below(12) {
                sleep(self.dice.millis_below(300)).await;
                self.leases.disturb(&self.dice).await;
            }
        }
    }

    /// Waits until every lane is at the log's end and has nothing left.
    async fn drained(&self, webhooks: &[WebhooksHandle]) {
        loop {
            let mut standings = Vec::new();
            for node in webhooks {
                standings.extend(node.statuses().await);
            }
            let head = self.memory.head();
            let is_done = standings.len() == endpoints().len()
                && standings.iter().all(|(endpoint, standing)| {
                    let replays = standing.replay.is_some_and(|replay| !replay.is_over());
                    endpoint.webhook.status == WebhookStatus::Enabled
                        && (standing.pending, standing.refused, standing.in_flight, replays)
                            == (0, 0, 0, false)
                        && standing.cursor >= head
                });
            if is_done {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
