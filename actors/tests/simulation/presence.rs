//! Who is online, on nodes that die, are taken for dead, and come back, while the exchange between them loses what it has.
//! In the end every node lists exactly those who are connected somewhere, and its staff were told so.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use amoiq_actors::presence::{
    ConnectedVisitor, ConnectionId, ExchangeServices, LoggedNews, OnlineUsers, PresenceExchange,
    PresenceHandle, PresenceSettings, PresenceSignals,
};
use amoiq_events::{
    Ambient, Event, EventLog, RecordedEvent, SessionId, TenantId, Timestamp, UserId,
    ambient::{ManualClock, SeededEntropy},
    codec,
    presence::PresenceEvent,
    signals::MemorySignals,
    store::memory::MemoryStore,
};
use amoiq_testkit::stores::{ClusterNode, FaultyStore, MemoryCluster, SeededDice};
use tokio::{
    task::{LocalSet, spawn_local},
    time::sleep,
};

use crate::world::paused_runtime;

const NODES: [&str; 3] = ["a", "b", "c"];

/// How many things happen.
const STEPS: u32 = 60;

/// The time between two of them, at most.
const PAUSE_MILLIS: u64 = 1_500;

/// After this time without a change everything is known everywhere: nodes that are gone are noticed last.
const REST: Duration = Duration::from_secs(30);

/// What a run has.
struct PresenceWorld {
    dice: SeededDice,
    log: MemoryStore,
    clock: Arc<ManualClock>,
    ambient: Ambient,
    trouble: u64,
    cluster: MemoryCluster,
    signals: MemorySignals,
    /// Who is connected: the node, and the user.
    connected: RefCell<BTreeMap<u64, (usize, UserId)>>,
}

/// A node, as long as it lives.
struct LivingNode {
    actors: LocalSet,
    presence: PresenceHandle,
    users: OnlineUsers,
    member: ClusterNode,
    exchange: MemorySignals,
    store: FaultyStore,
    /// Who is online, by what staff are told.
    told: Rc<RefCell<BTreeSet<UserId>>>,
}

/// Runs a seed.
pub(crate) fn run(seed: u64) {
    let world = PresenceWorld::new(seed);
    paused_runtime().block_on(world.run());
}

impl PresenceWorld {
    fn new(seed: u64) -> Self {
        let dice = SeededDice::new(seed);
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_705_314_600_000)));
        let ambient =
            Ambient::new(Arc::clone(&clock) as _, Arc::new(SeededEntropy::new(seed.rotate_left(32))));
        Self {
            trouble: dice.pick(&[0, 10, 30]),
            dice,
            log: MemoryStore::new().node(),
            clock,
            ambient,
            cluster: MemoryCluster::default(),
            signals: MemorySignals::new("nobody", 0),
            connected: RefCell::default(),
        }
    }

    async fn run(&self) {
        let mut nodes: Vec<_> = NODES.iter().map(|name| self.start(name)).collect();
        for number in 0..STEPS {
            self.step(&mut nodes, number).await;
            self.pass(&nodes, self.dice.millis_below(PAUSE_MILLIS)).await;
        }
        nodes.iter().for_each(|node| node.store.calm_down());
        self.pass(&nodes, REST).await;
        let online: BTreeSet<_> = self.connected.borrow().values().map(|(_, user)| user.clone()).collect();
        for (node, name) in nodes.iter().zip(NODES) {
            let listed = node.users.list(&tenant(), usize::MAX, node.store.head()).await.expect("a list");
            let listed: BTreeSet<_> = listed.users.into_iter().map(|user| user.user_id).collect();
            assert_eq!(listed, online, "the list of {name}");
            assert_eq!(*node.told.borrow(), online, "what staff of {name} were told");
        }
    }

    fn start(&self, name: &str) -> LivingNode {
        let actors = LocalSet::new();
        let _inside = actors.enter();
        let store = FaultyStore::new(self.log.node(), self.dice.fork(), self.trouble);
        let log: Arc<dyn EventLog> = Arc::new(store.clone());
        let member = self.cluster.join(name);
        let exchange = self.signals.node(name, member.membership());
        let settings =
            PresenceSettings { offline_grace: Duration::from_secs(1), batch: Duration::from_millis(50) };
        let (signals, mut heard) = PresenceSignals::new();
        let presence = PresenceHandle::start_here(settings, &log, &self.ambient, &signals);
        let from = log.head();
        let users = OnlineUsers::start(&log, from, REST, &signals, presence.clone());
        let services = ExchangeServices {
            exchange: Arc::new(exchange.clone()),
            leases: Arc::new(member.clone()),
            log: Arc::clone(&log),
            ambient: self.ambient.clone(),
        };
        PresenceExchange::start(services, &signals, &presence);
        let told: Rc<RefCell<BTreeSet<UserId>>> = Rc::default();
        let (staff, online) = (Rc::clone(&told), users.clone());
        spawn_local(async move {
            while let Some(signal) = heard.recv().await {
                let holds = |event: &&PresenceEvent| online.still_holds(&signal.tenant, event);
                signal.events.iter().filter(holds).for_each(|event| tell(&staff, event));
            }
        });
        spawn_local(broadcast(Arc::clone(&log), from, users.clone(), Rc::clone(&told)));
        let (follower, dice) = (store.clone(), self.dice.fork());
        spawn_local(async move {
            loop {
                sleep(Duration::from_millis(1) + dice.millis_below(100)).await;
                follower.follow();
            }
        });
        LivingNode { actors, presence, users, member, exchange, store, told }
    }

    async fn step(&self, nodes: &mut [LivingNode], number: u32) {
        let at = usize::try_from(self.dice.below(NODES.len() as u64)).expect("an index");
        let node = nodes.get_mut(at).expect("a node");
        let (name, tenant) = (NODES.get(at).expect("a name"), tenant());
        match self.dice.below(20) {
            0 => {
                // It dies, and with it every connection; another process has its name.
                self.cluster.remove(name);
                self.connected.borrow_mut().retain(|_, (of, _)| *of != at);
                *node = self.start(name);
                // Whoever looks after staff there asks for the list first.
                let listed = node.actors.run_until(self.known(node)).await;
                *node.told.borrow_mut() = listed;
            }
            1 => {
                // It is stopped for a while, is taken for dead, and wakes.
                self.cluster.remove(name);
                let stopped = Duration::from_secs(1) + self.dice.millis_below(8_000);
                let others = nodes.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, node)| node);
                pass_on(&others.collect::<Vec<_>>(), stopped).await;
                self.cluster.rejoin(name);
                let node = nodes.get(at).expect("a node");
                node.exchange.rejoin(node.member.membership());
            }
            2 => self.signals.crash(),
            3..12 => {
                let user = user(&self.dice);
                let visitor = visitor(&user, self.dice.one_in(2));
                let connection = u64::from(number);
                self.connected.borrow_mut().insert(connection, (at, user));
                let identified = node.presence.identify(&tenant, ConnectionId(connection), visitor);
                node.actors.run_until(identified).await.expect("it is taken");
            }
            _ => {
                let gone = self.connected.borrow().iter().find(|(_, (of, _))| *of == at).map(|(id, _)| *id);
                if let Some(connection) = gone {
                    self.connected.borrow_mut().remove(&connection);
                    let closed = node.presence.close(&tenant, ConnectionId(connection));
                    node.actors.run_until(closed).await.expect("it is taken");
                }
            }
        }
    }

    /// Whom a node that has just started lists.
    async fn known(&self, node: &LivingNode) -> BTreeSet<UserId> {
        let listed = node.users.list(&tenant(), usize::MAX, node.store.head()).await.expect("a list");
        listed.users.into_iter().map(|user| user.user_id).collect()
    }

    async fn pass(&self, nodes: &[LivingNode], time: Duration) {
        self.clock.advance_millis(i64::try_from(time.as_millis()).expect("a short time"));
        pass_on(&nodes.iter().collect::<Vec<_>>(), time).await;
    }
}

/// These nodes go on for a time.
async fn pass_on(nodes: &[&LivingNode], time: Duration) {
    let mut rest = nodes.iter();
    match (rest.next(), rest.next(), rest.next()) {
        (Some(a), Some(b), Some(c)) => {
            tokio::join!(
                a.actors.run_until(sleep(time)),
                b.actors.run_until(sleep(time)),
                c.actors.run_until(sleep(time))
            );
        }
        (Some(a), Some(b), None) => {
            tokio::join!(a.actors.run_until(sleep(time)), b.actors.run_until(sleep(time)));
        }
        _ => panic!("two or three nodes"),
    }
}

/// Tells staff what the log has, as the service's feed does.
async fn broadcast(
    log: Arc<dyn EventLog>,
    from: amoiq_events::Position,
    users: OnlineUsers,
    told: Rc<RefCell<BTreeSet<UserId>>>,
) {
    let mut subscription = log.subscribe(from);
    while let Ok(Some(batch)) = subscription.next().await {
        let _late = users.progress().reach(batch.upto, REST).await;
        let news = |event: &&RecordedEvent| users.news(event) != LoggedNews::Nothing;
        for event in batch.events.iter().filter(news) {
            if let Ok(Event::Presence(event)) = codec::decode(event) {
                tell(&told, &event);
            }
        }
    }
}

fn tell(told: &RefCell<BTreeSet<UserId>>, event: &PresenceEvent) {
    let mut told = told.borrow_mut();
    match event {
        PresenceEvent::Online(online) => drop(told.insert(online.user_id.clone())),
        PresenceEvent::Offline(offline) => drop(told.remove(&offline.user_id)),
    }
}

fn user(dice: &SeededDice) -> UserId {
    UserId::parse(dice.pick(&["ann", "bob", "cat", "dan", "eve"])).expect("an id")
}

fn visitor(user: &UserId, has_written: bool) -> ConnectedVisitor {
    ConnectedVisitor {
        user_id: user.clone(),
        verified: false,
        claimed_user_id: None,
        session_id: SessionId::parse(&format!("session of {user}")).expect("an id"),
        has_written,
        domain: None,
        origin: None,
        url: None,
    }
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("an id")
}
