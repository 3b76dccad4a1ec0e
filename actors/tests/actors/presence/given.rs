//! Presence under test, the list that is folded from it, and helpers to compare announcements.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use amoiq_actors::presence::{
    ConnectedVisitor, ConnectionId, ExchangeServices, OnlineList, OnlineUsers, PresenceExchange,
    PresenceHandle, PresenceSettings, PresenceSignal, PresenceSignals,
};
use amoiq_events::{
    Ambient, Event, EventLog, Position, RecordedEvent, SessionId, ShortText, StreamName, TenantId, Timestamp,
    UserId,
    ambient::{Clock, SeededEntropy},
    codec,
    presence::PresenceEvent,
    session::{SessionEvent, SessionStarted},
    signals::MemorySignals,
    store::ExpectedVersion,
};
use amoiq_testkit::stores::{ClusterNode, ScriptedStore};
use tokio::{
    sync::mpsc,
    task::spawn_local,
    time::{Instant, sleep},
};

use crate::given::{DEADLINE, cause, tenant};

pub(crate) const GRACE: Duration = Duration::from_secs(3);
pub(crate) const BATCH: Duration = Duration::from_millis(50);

/// Presence over a scripted store.
#[derive(Clone)]
pub(crate) struct GivenPresence {
    pub(crate) store: ScriptedStore,
    pub(crate) shared: Arc<dyn EventLog>,
    pub(crate) presence: PresenceHandle,
    pub(crate) online: OnlineUsers,
    heard: Rc<RefCell<Vec<PresenceSignal>>>,
    pub(crate) ambient: Ambient,
}

/// A clock that follows the runtime's.
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        let millis = i64::try_from(self.0.elapsed().as_millis()).expect("a short test");
        Timestamp::from_millis(1_705_314_600_000 + millis)
    }
}

impl GivenPresence {
    pub(crate) fn new() -> Self {
        Self::with_grace(GRACE)
    }

    pub(crate) fn with_grace(offline_grace: Duration) -> Self {
        Self::over(ScriptedStore::new(), offline_grace, 1).0
    }

    /// One of several nodes.
    pub(crate) fn node(store: ScriptedStore, cluster: ClusterNode, exchange: MemorySignals) -> Self {
        let (given, signals) = Self::over(store, GRACE, cluster.membership());
        let services = ExchangeServices {
            exchange: Arc::new(exchange),
            leases: Arc::new(cluster),
            log: Arc::clone(&given.shared),
            ambient: given.ambient.clone(),
        };
        PresenceExchange::start(services, &signals, &given.presence);
        given
    }

    fn over(store: ScriptedStore, offline_grace: Duration, seed: u64) -> (Self, PresenceSignals) {
        let shared: Arc<dyn EventLog> = Arc::new(store.clone());
        let clock = RuntimeClock(Instant::now());
        let ambient = Ambient::new(Arc::new(clock), Arc::new(SeededEntropy::new(seed)));
        let settings = PresenceSettings { offline_grace, batch: BATCH };
        let (signals, hears) = PresenceSignals::new();
        let presence = PresenceHandle::start_here(settings, &shared, &ambient, &signals);
        let online = OnlineUsers::start(&shared, Position::START, DEADLINE, &signals, presence.clone());
        let heard = Rc::default();
        spawn_local(hear(hears, Rc::clone(&heard)));
        (Self { store, shared, presence, online, heard, ambient }, signals)
    }

    /// Another list, which receives no signals.
    pub(crate) fn another_list(&self, from: Position, patience: Duration) -> OnlineUsers {
        OnlineUsers::start(&self.shared, from, patience, &PresenceSignals::new().0, self.presence.clone())
    }

    pub(crate) async fn identify(&self, connection: u64, user: &str, session: &str) {
        let visitor = visitor(user, session);
        let named = self.presence.identify(&tenant(), ConnectionId(connection), visitor).await;
        named.expect("it is taken");
    }

    /// The first event of a session.
    pub(crate) async fn session_started(&self, session: &str) {
        let session = SessionId::parse(session).expect("an id");
        let started = Event::Session(SessionEvent::Started(SessionStarted {}));
        let started = vec![started.envelope(&self.ambient, &cause())];
        let stream = StreamName::session(&tenant(), &session);
        self.store.append(stream, ExpectedVersion::NoStream, started).await.expect("appended");
    }

    pub(crate) async fn close(&self, connection: u64) {
        self.presence.close(&tenant(), ConnectionId(connection)).await.expect("it is taken");
    }

    /// The announcements in the log, for example `online ann s1`.
    pub(crate) async fn said(&self) -> Vec<String> {
        self.store.log().await.iter().map(words).collect()
    }

    /// The signals since the last call, in the same form.
    pub(crate) fn signalled(&self) -> Vec<String> {
        let heard = self.heard.take();
        assert!(heard.iter().all(|signal| signal.tenant == tenant()));
        let events = heard.into_iter().flat_map(|signal| signal.events);
        events.map(|event| words_of(&Event::Presence(event))).collect()
    }

    /// All listed users once the whole log is folded.
    pub(crate) async fn listed(&self) -> OnlineList {
        let head = self.store.current_head().await.expect("the head");
        let listed = self.online.list(&tenant(), usize::MAX, head).await;
        listed.expect("the projection follows")
    }

    /// The same as `ann s1`, sorted by name.
    pub(crate) async fn names(&self) -> Vec<String> {
        let listed = self.listed().await;
        assert_eq!(listed.total, listed.users.len());
        let mut names: Vec<_> =
            listed.users.iter().map(|user| format!("{} {}", user.user_id, user.session_id)).collect();
        names.sort();
        names
    }
}

async fn hear(mut hears: mpsc::Receiver<PresenceSignal>, heard: Rc<RefCell<Vec<PresenceSignal>>>) {
    while let Some(signal) = hears.recv().await {
        heard.borrow_mut().push(signal);
    }
}

/// Waits until every grace period is over and everything is announced, also after failures.
pub(crate) async fn rest() {
    sleep(Duration::from_secs(10)).await;
}

/// Waits until changes are announced.
pub(crate) async fn a_batch() {
    sleep(BATCH + Duration::from_millis(10)).await;
}

/// In a session with messages, unless its name says otherwise.
pub(crate) fn visitor(user: &str, session: &str) -> ConnectedVisitor {
    ConnectedVisitor {
        user_id: UserId::parse(user).expect("an id"),
        verified: false,
        claimed_user_id: None,
        has_written: !session.starts_with("silent"),
        session_id: SessionId::parse(session).expect("an id"),
        domain: ShortText::cut("shop.example"),
        origin: ShortText::cut("https://shop.example"),
        url: ShortText::cut("https://shop.example/first"),
    }
}

pub(crate) fn other_tenant() -> TenantId {
    TenantId::parse("other").expect("an id")
}

fn words(recorded: &RecordedEvent) -> String {
    words_of(&codec::decode(recorded).expect("an event"))
}

fn words_of(event: &Event) -> String {
    match event {
        Event::Presence(PresenceEvent::Online(online)) => {
            format!("online {} {}", online.user_id, online.session_id)
        }
        Event::Presence(PresenceEvent::Offline(offline)) => {
            format!("offline {} {}", offline.user_id, offline.session_id)
        }
        other => other.encode().0.name.to_owned(),
    }
}
