//! One run: nodes that live on one log and crash, and how their answers are judged.

use std::{
    cell::RefCell,
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use amoiq_actors::sessions::{DirectorySettings, ProvenUsers, SessionDirectory, SessionSettings};
use amoiq_events::{
    Ambient, EventStore, Timestamp,
    ambient::{ManualClock, SeededEntropy},
    store::memory::MemoryStore,
};
use amoiq_testkit::stores::{FaultyStore, SeededDice};
use tokio::{
    runtime,
    task::{LocalSet, spawn_local},
    time::timeout,
};

use crate::{
    client::{self, Client},
    inbox::{self, LiveInbox},
    invariants,
    judge::{self, Ledger},
    rival,
    witness::Witness,
};

pub(crate) const CLIENTS: usize = 4;

/// After so many crashes nothing fails any more, so that the run ends.
pub(crate) const CRASHES: u32 = 8;

/// No node lives longer before it crashes.
pub(crate) const LIFE_MILLIS: u64 = 150;

/// How long the last node may take: far more than it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3_600);

/// What a run has.
pub(crate) struct World {
    pub(crate) memory: MemoryStore,
    pub(crate) ambient: Ambient,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dice: SeededDice,
    pub(crate) settings: DirectorySettings,
    /// How many sessions each tenant has.
    pub(crate) sessions: u64,
    pub(crate) clients: Vec<RefCell<Client>>,
    pub(crate) ledger: RefCell<Ledger>,
    pub(crate) witness: RefCell<Witness>,
    /// The log as each node sees it.
    pub(crate) stores: Vec<FaultyStore>,
}

/// Runs a seed. Returns a digest of the log that it leaves.
pub(crate) fn run(seed: u64, with_inbox: bool) -> u64 {
    let world = Rc::new(World::new(seed, 1));
    let inbox_dice = SeededDice::new(!seed);
    let mut inbox = with_inbox.then(|| LiveInbox::start(&world.memory));
    let runtime = paused_runtime();
    for crash in 0..=CRASHES {
        let is_last = crash == CRASHES;
        if is_last {
            world.calm_down();
        }
        let node = LocalSet::new();
        let ended = node.block_on(&runtime, world.live(is_last));
        // The crash: every actor, request and answer underway is gone.
        let inside = runtime.enter();
        drop(node);
        drop(inside);
        world.check();
        assert!(ended || !is_last, "the clients never came to an end");
        if inbox_dice.one_in(3) {
            inbox = inbox.map(LiveInbox::crash);
        }
        if ended {
            break;
        }
    }
    world.calm_down();
    LocalSet::new().block_on(&runtime, world.read_back());
    world.check();
    let witness = world.witness.borrow();
    inbox::check(&witness, &inbox_dice, inbox);
    digest(&witness)
}

/// A clock that jumps.
pub(crate) fn paused_runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

impl World {
    pub(crate) fn new(seed: u64, nodes: usize) -> Self {
        let dice = SeededDice::new(seed);
        let memory = if nodes > 1 { MemoryStore::new().node() } else { MemoryStore::new() };
        let trouble = dice.pick(&[0, 5, 20, 40]);
        let node = |_| if nodes > 1 { memory.node() } else { memory.clone() };
        let stores = (0..nodes).map(node).map(|log| FaultyStore::new(log, dice.fork(), trouble)).collect();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_705_314_600_000)));
        let entropy = Arc::new(SeededEntropy::new(seed.rotate_left(32)));
        let settings = DirectorySettings {
            arbiters: 1,
            max_sessions: dice.pick(&[8, 1_000]),
            max_memory_bytes: dice.pick(&[32 * 1024, 256 * 1024 * 1024]),
            passivate_after: Duration::from_millis(dice.pick(&[10, 40, 10_000])),
            session: SessionSettings { max_events: dice.pick(&[12, 1_000, 1_000]) },
        };
        Self {
            stores,
            memory,
            ambient: Ambient::new(Arc::clone(&clock) as _, entropy),
            clock,
            settings,
            sessions: dice.pick(&[1, 3, 8]),
            clients: (0..CLIENTS).map(|number| RefCell::new(Client::new(number))).collect(),
            ledger: RefCell::default(),
            witness: RefCell::default(),
            dice,
        }
    }

    /// A node lives until it crashes, or until every client is done.
    async fn live(self: &Rc<Self>, is_last: bool) -> bool {
        let directory = self.directory(0);
        spawn_local(rival::write(Rc::clone(self)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| spawn_local(client::live(Rc::clone(self), directory.clone(), number)))
            .collect();
        let all = async {
            for client in clients {
                client.await.expect("a client ends");
            }
        };
        let span = if is_last { PATIENCE } else { self.dice.millis_below(LIFE_MILLIS) };
        timeout(span, all).await.is_ok()
    }

    /// Nothing fails any more.
    pub(crate) fn calm_down(&self) {
        self.stores.iter().for_each(FaultyStore::calm_down);
    }

    /// A new node returns everything in the log, to the last message.
    pub(crate) async fn read_back(self: &Rc<Self>) {
        let directory = self.directory(0);
        for (tenant, session) in client::every_session(self.sessions) {
            client::read_all(self, &directory, &tenant, &session).await;
        }
    }

    /// A directory of a node that has just started.
    pub(crate) fn directory(&self, node: usize) -> SessionDirectory {
        let store: Arc<dyn EventStore> = Arc::new(self.stores.get(node).expect("a node").clone());
        SessionDirectory::start_here(self.settings, &store, &self.ambient, &ProvenUsers::default())
    }

    /// What must hold at any time.
    pub(crate) fn check(&self) {
        let mut witness = self.witness.borrow_mut();
        witness.catch_up(&self.memory);
        let ledger = self.ledger.borrow();
        judge::assert_no_violation(&ledger);
        invariants::assert_log(&witness, self.settings.session.max_events);
        invariants::assert_kept(&witness, &ledger);
    }
}

pub(crate) fn digest(witness: &Witness) -> u64 {
    let mut hasher = DefaultHasher::new();
    for recorded in &witness.log {
        let event = &recorded.event;
        (recorded.position, &recorded.stream, recorded.version, event.id, event.time).hash(&mut hasher);
        (&event.kind, &event.causation, &event.actor, &event.data).hash(&mut hasher);
    }
    hasher.finish()
}
