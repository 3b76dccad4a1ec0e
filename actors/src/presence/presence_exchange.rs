//! Tells other nodes who is online on this one, hears the same from them, and says offline for nodes that are gone.
//!
//! - *Publishing.* What changed in this node's table goes out at most 20 times a second. When the others have lost what was
//!   published, everything goes out again.
//! - *Hearing.* What others publish is folded into their tables, and staff are told of visitors who have not written. Of the
//!   others the log tells.
//! - *Nodes that are gone.* A node counts as gone once its membership has not been among the nodes for a while. Each node
//!   then drops its silent visitors. One node, which holds the lease, says offline in the log for those who have written.
//!
//! While the database is away, nothing of this happens and everybody stays as they are.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use amoiq_events::{
    Ambient, Event, EventLog, StreamName,
    cluster::{ClusterLeases, ClusterView, HeldLease, LeaseName},
    event::EventCause,
    signals::{EntryChange, MAX_PUBLISHED, NodeEntries, PublishOutcome, SignalExchange},
    store::{ExpectedVersion, MAX_APPEND_EVENTS},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{PresenceHandle, online_tables::instance, presence_signals::PresenceSignals};

/// How often changes are published at the most.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

/// How often something is published when nothing changes: so that it shows when the others have lost it.
const PUBLISH_AT_LEAST_EVERY: Duration = Duration::from_secs(2);

/// How often it is looked for news when no wake-up comes.
const READ_EVERY: Duration = Duration::from_millis(500);

/// How long it waits after a failure.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// How often it is looked for nodes that are gone.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long a node has to be missing, between two looks at the register: its entries may be known before it is seen among the
/// nodes, and the database may go away just then.
const MISSING_FOR: Duration = Duration::from_secs(3);

/// What the exchange works with.
#[derive(Clone)]
pub struct ExchangeServices {
    /// Carries entries between nodes.
    pub exchange: Arc<dyn SignalExchange>,
    /// Who is there, and who says offline for those who are not.
    pub leases: Arc<dyn ClusterLeases>,
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Ids and time of what is said for nodes that are gone.
    pub ambient: Ambient,
}

/// Exchanges with other nodes who is online.
#[derive(Clone)]
pub struct PresenceExchange {
    services: ExchangeServices,
    signals: PresenceSignals,
    presence: PresenceHandle,
}

impl PresenceExchange {
    /// Starts it on the caller's arbiter. To be called before a visitor connects: until then it is not known under which
    /// membership they do.
    pub fn start(services: ExchangeServices, signals: &PresenceSignals, presence: &PresenceHandle) {
        let exchange = Self { services, signals: signals.clone(), presence: presence.clone() };
        exchange.note_membership();
        actix::spawn(exchange.clone().follow_membership());
        actix::spawn(exchange.clone().publish());
        actix::spawn(exchange.clone().hear());
        actix::spawn(exchange.look_for_gone_nodes());
    }

    fn view(&self) -> watch::Receiver<Arc<ClusterView>> {
        self.services.leases.view()
    }

    /// This node under its membership. Returns whether that is another one than before.
    fn note_membership(&self) -> bool {
        let view = self.view();
        let own = view.borrow().own.as_ref().map(|own| own.fencing().number);
        let node = own.map(|membership| instance(self.services.exchange.node(), membership));
        node.is_some_and(|node| self.signals.table.write().join(node))
    }

    async fn follow_membership(self) {
        let mut view = self.view();
        while view.changed().await.is_ok() {
            if self.note_membership() {
                // Its mailbox may be full.
                while !self.presence.rejoined() {
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn publish(self) {
        let mut published_at = Instant::now();
        loop {
            sleep(PUBLISH_EVERY).await;
            let changes = self.changes();
            if changes.is_empty() && published_at.elapsed() < PUBLISH_AT_LEAST_EVERY {
                continue;
            }
            published_at = Instant::now();
            let entries: Vec<_> =
                changes.iter().map(|change| (change.tenant.clone(), change.user.clone())).collect();
            match self.services.exchange.publish(changes).await {
                Ok(PublishOutcome::Added) => {}
                Ok(PublishOutcome::Alone) => {
                    let mut tables = self.signals.table.write();
                    let all: HashSet<_> =
                        tables.own().entries().map(|(tenant, user)| (tenant.clone(), user.clone())).collect();
                    let known: HashSet<_> = entries.into_iter().collect();
                    tables.own().note(all.difference(&known).cloned());
                }
                Err(error) => {
                    tracing::debug!(%error, "who is online is not published; trying again");
                    self.signals.table.write().own().note(entries);
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// What is to be published now.
    fn changes(&self) -> Vec<EntryChange> {
        let mut tables = self.signals.table.write();
        let own = tables.own();
        let changed = own.take_changes(MAX_PUBLISHED);
        let entry = |(tenant, user)| EntryChange { visitor: own.visitor(&tenant, &user), tenant, user };
        changed.into_iter().map(entry).collect()
    }

    async fn hear(self) {
        let mut wake_ups = self.services.exchange.wake_ups();
        loop {
            match self.services.exchange.read().await {
                Ok(news) if news.is_empty() => {
                    // Nobody wakes it any more: `changed` would answer at once, and the database would be asked all the time.
                    if matches!(timeout(READ_EVERY, wake_ups.changed()).await, Ok(Err(_))) {
                        sleep(READ_EVERY).await;
                    }
                }
                Ok(news) => {
                    for entries in news {
                        self.take(entries).await;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "who is online elsewhere is not heard; trying again");
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn take(&self, entries: NodeEntries) {
        let told = self.signals.table.write().take(entries);
        for signal in told {
            self.signals.tell(signal).await;
        }
    }

    async fn look_for_gone_nodes(self) {
        let (view, mut missing) = (self.view(), HashMap::new());
        loop {
            sleep(LOOK_EVERY).await;
            let told = self.signals.table.write().remove_missing();
            for signal in told {
                self.signals.tell(signal).await;
            }
            let (present, looked_at) = {
                let view = view.borrow();
                (present_nodes(&view), view.is_true_at())
            };
            let known: Vec<_> = self.signals.table.read().other_nodes().cloned().collect();
            missing.retain(|node, _| known.contains(node));
            for node in known {
                if present.contains(&node) {
                    missing.remove(&node);
                } else if looked_at - *missing.entry(Arc::clone(&node)).or_insert(looked_at) >= MISSING_FOR {
                    self.say_offline(&node).await;
                }
            }
        }
    }

    /// Says offline for everybody on a node that is gone, as far as that is for this node to say.
    async fn say_offline(&self, node: &Arc<str>) {
        let told = self.signals.table.write().node_gone(node);
        for signal in told {
            self.signals.tell(signal).await;
        }
        let next = || self.signals.table.read().logged_on(node, MAX_APPEND_EVENTS);
        while let Some((tenant, events)) = next() {
            let lease = LeaseName::new("presence", "offline");
            let held = self.services.leases.acquire(vec![lease]).await.unwrap_or_default();
            if !held.first().is_some_and(HeldLease::is_valid) {
                return;
            }
            let cause = EventCause { causation: "node gone".into(), actor: "service:presence".into() };
            let envelope =
                |event: &_| Event::Presence(Clone::clone(event)).envelope(&self.services.ambient, &cause);
            let envelopes = events.iter().map(envelope).collect();
            let stream = StreamName::presence(&tenant);
            if let Err(error) = self.services.log.append(stream, ExpectedVersion::Any, envelopes).await {
                tracing::warn!(%error, node = &**node, "visitors of a node that is gone stay online for now");
                return;
            }
            // The projection does the same once it reads them.
            self.signals.table.write().apply_to(node, &tenant, events);
        }
        if let Some((name, membership)) = parts_of(node)
            && let Err(error) = self.services.exchange.forget(name, membership).await
        {
            return tracing::debug!(%error, "the entries of a node that is gone stay for now");
        }
        self.signals.table.write().drop_node(node);
    }
}

/// The nodes under their memberships.
fn present_nodes(view: &ClusterView) -> HashSet<Arc<str>> {
    view.nodes.iter().map(|node| instance(&node.description.name, node.fencing.number)).collect()
}

/// The name and the membership of a node.
fn parts_of(node: &str) -> Option<(Arc<str>, u64)> {
    let (name, membership) = node.rsplit_once('.')?;
    Some((name.into(), membership.parse().ok()?))
}
