//! Who is online on this node and on the others: one table for each node.
//!
//! A user can be connected to several nodes. They are online as long as one of the tables has them, and each list names them
//! once. With one node there is one table.
//!
//! A node has another table after each time that it joined the others: `a.17` is the node `a` under the membership 17. So
//! what is told about a node that was taken for dead never concerns the one that has come back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use amoiq_events::{
    Event, ShortText, StreamName, TenantId, UserId,
    node::NodeEvent,
    presence::{PresenceEvent, UserOffline},
    signals::{EntryChange, NodeEntries},
};

use tokio::time::Instant;

use super::presence_table::{OnlineList, PresenceSource, PresenceTable};

/// Announcements of one tenant.
#[derive(Debug, Clone)]
pub struct PresenceSignal {
    /// The tenant.
    pub tenant: TenantId,
    /// Visitors who came online or went offline, in order.
    pub events: Vec<PresenceEvent>,
}

/// The tables of all nodes.
#[derive(Default)]
pub(super) struct OnlineTables {
    own: PresenceTable,
    /// This node under its membership, where there are others.
    node: Option<Arc<str>>,
    others: BTreeMap<Arc<str>, PresenceTable>,
    /// Who was missing when a node told everything, and since when: it may still be telling.
    missing: BTreeMap<Arc<str>, MissingVisitors>,
    /// Who left another node according to the log, and when that was folded: what the node published before may be heard
    /// later.
    departed: HashMap<(Arc<str>, TenantId, UserId), Instant>,
}

/// Since when, and who.
type MissingVisitors = (Instant, HashSet<(TenantId, UserId)>);

/// How long a node may take to tell everything, and how long what it told may be on its way.
const TELLS_WITHIN: Duration = Duration::from_secs(5);

/// A node under a membership, as `node` in events of presence has it.
pub(super) fn instance(node: &str, membership: u64) -> Arc<str> {
    format!("{node}.{membership}").into()
}

impl OnlineTables {
    /// This node is one of several, and has joined them. Returns whether it is under another membership than before: then
    /// the others said offline for everybody whom the log had here, and whoever is still connected is announced again.
    pub(super) fn join(&mut self, node: Arc<str>) -> bool {
        self.own.note_changes();
        let before = self.node.replace(node);
        let is_again = before.is_some() && before != self.node;
        if is_again {
            self.own.node_started();
        }
        is_again
    }

    /// This node under its membership, where there are others.
    pub(super) fn node(&self) -> Option<&Arc<str>> {
        self.node.as_ref()
    }

    /// The table of this node.
    pub(super) fn own(&mut self) -> &mut PresenceTable {
        &mut self.own
    }

    /// Whether an event of this stream can change anything.
    pub(super) fn concerns(&self, stream: &StreamName) -> bool {
        let is_presence = |kind: &str| kind == "presence" || kind == "node";
        stream.as_str().split_once(':').is_some_and(|(kind, _)| is_presence(kind))
            || self.own.has_session(stream)
            || self.others.values().any(|other| other.has_session(stream))
    }

    /// Folds an event.
    pub(super) fn apply(&mut self, stream: &StreamName, event: Event) {
        match event {
            // With several nodes each start is another membership.
            Event::Node(NodeEvent::Started(_)) if self.node.is_none() => self.own.node_started(),
            Event::Node(NodeEvent::Started(_)) => {}
            Event::Presence(event) => {
                let node = event.node().map(Arc::<str>::from);
                if let Some(node) = node.filter(|node| !self.is_own(Some(&**node))) {
                    self.note_departure(&node, stream, &event);
                    self.others.entry(node).or_default().apply(stream, Event::Presence(event));
                } else {
                    self.own.apply(stream, Event::Presence(event));
                }
            }
            event => {
                for other in self.others.values_mut() {
                    other.apply(stream, event.clone());
                }
                self.own.apply(stream, event);
            }
        }
    }

    /// Folds signals of this node. Returns those that staff are to be told: not that somebody left who is still on another
    /// node.
    pub(super) fn signal(&mut self, tenant: &TenantId, events: Vec<PresenceEvent>) -> Vec<PresenceEvent> {
        for event in &events {
            self.own.announce(tenant.clone(), event.clone(), PresenceSource::Signal);
        }
        let is_news = |event: &PresenceEvent| match event {
            PresenceEvent::Online(_) => true,
            PresenceEvent::Offline(offline) => {
                !self.others.values().any(|other| other.has(tenant, &offline.user_id))
            }
        };
        events.into_iter().filter(is_news).collect()
    }

    /// Whether a user is online on any node.
    pub(super) fn is_online(&self, tenant: &TenantId, user: &UserId) -> bool {
        self.others.values().chain([&self.own]).any(|table| table.has(tenant, user))
    }

    /// Whether a user who left a node, as the log says, is online all the same: on another node, or on this one again without
    /// having written. What the log said of this node before may still be here: the fold is late, or what the node published
    /// before was heard after it.
    pub(super) fn is_online_beside(&self, node: &str, tenant: &TenantId, user: &UserId) -> bool {
        let own = self.node.iter().map(|name| (name, &self.own));
        self.others.iter().chain(own).any(|(name, table)| match table.source(tenant, user) {
            Some(PresenceSource::Log) => **name != *node,
            Some(PresenceSource::Signal) => true,
            None => false,
        })
    }

    /// Takes what another node published. Returns what staff are to be told: of visitors who have not written, because
    /// the log tells of all others. While a node tells everything, the log may have told before this node started.
    pub(super) fn take(&mut self, entries: NodeEntries) -> Vec<PresenceSignal> {
        let NodeEntries { node, membership, is_whole, changes } = entries;
        let node = instance(&node, membership);
        if is_whole {
            let known = self.others.get(&node).into_iter().flat_map(PresenceTable::entries);
            let known = known.map(|(tenant, user)| (tenant.clone(), user.clone())).collect();
            self.missing.insert(Arc::clone(&node), (Instant::now(), known));
        }
        let tells_all = self.missing.contains_key(&node);
        if let Some((_, missing)) = self.missing.get_mut(&node) {
            changes.iter().for_each(|change| {
                missing.remove(&(change.tenant.clone(), change.user.clone()));
            });
        }
        changes.into_iter().filter_map(|change| self.take_entry(&node, change, tells_all)).collect()
    }

    /// Removes those who were missing when their node told everything. Returns what staff are to be told.
    pub(super) fn remove_missing(&mut self) -> Vec<PresenceSignal> {
        self.departed.retain(|_, since| since.elapsed() < TELLS_WITHIN);
        let is_over = |_: &Arc<str>, (since, _): &mut MissingVisitors| since.elapsed() >= TELLS_WITHIN;
        let gone: Vec<_> = self.missing.extract_if(.., is_over).collect();
        let absences = gone.into_iter().flat_map(|(node, (_, entries))| {
            entries.into_iter().map(move |(tenant, user)| (Arc::clone(&node), absence(tenant, user)))
        });
        let absences: Vec<_> = absences.collect();
        absences.into_iter().filter_map(|(node, gone)| self.take_entry(&node, gone, false)).collect()
    }

    /// A node is gone. Returns what staff are to be told of its visitors who have not written; those who have stay until
    /// the log says that they are gone.
    pub(super) fn node_gone(&mut self, node: &Arc<str>) -> Vec<PresenceSignal> {
        let Some(table) = self.others.get(node) else { return Vec::new() };
        let silent = table
            .entries()
            .filter(|(tenant, user)| table.visitor(tenant, user).is_some_and(|visitor| !visitor.is_logged));
        let silent: Vec<_> = silent.map(|(tenant, user)| absence(tenant.clone(), user.clone())).collect();
        silent.into_iter().filter_map(|change| self.take_entry(node, change, false)).collect()
    }

    /// Some of a node's visitors who are online according to the log, of one tenant.
    pub(super) fn logged_on(&self, node: &str, most: usize) -> Option<(TenantId, Vec<PresenceEvent>)> {
        let table = self.others.get(node)?;
        let logged = |tenant: &TenantId, user: &UserId| {
            table.visitor(tenant, user).filter(|visitor| visitor.is_logged).map(|visitor| UserOffline {
                user_id: visitor.online.user_id,
                session_id: visitor.online.session_id,
                verified: visitor.online.verified,
                node: ShortText::cut(node),
            })
        };
        let first = table.entries().find(|(tenant, user)| logged(tenant, user).is_some())?.0.clone();
        let of_tenant = table.entries().filter(|(tenant, _)| **tenant == first);
        let offline = of_tenant.filter_map(|(tenant, user)| logged(tenant, user)).take(most);
        Some((first.clone(), offline.map(PresenceEvent::Offline).collect()))
    }

    /// The log has these events of another node, or will have them soon.
    pub(super) fn apply_to(&mut self, node: &str, tenant: &TenantId, events: Vec<PresenceEvent>) {
        if let Some(table) = self.others.get_mut(node) {
            events.into_iter().for_each(|event| table.announce(tenant.clone(), event, PresenceSource::Log));
        }
    }

    /// Nobody is left on a node that is gone.
    pub(super) fn drop_node(&mut self, node: &str) {
        self.others.remove(node);
        self.missing.remove(node);
    }

    /// The other nodes of which something is known.
    pub(super) fn other_nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.others.keys()
    }

    /// The newest of a tenant's visitors, and how many there are.
    pub(super) fn newest(&self, tenant: &TenantId, limit: usize) -> OnlineList {
        let mut list = self.own.newest(tenant, limit);
        if self.others.values().all(|other| other.total() == 0) {
            return list;
        }
        let others = self.others.values().map(|other| other.newest(tenant, limit).users);
        list.users.extend(others.flatten());
        list.users.sort_by(|a, b| (b.connected_at, &b.user_id).cmp(&(a.connected_at, &a.user_id)));
        let mut listed = HashSet::new();
        list.users.retain(|user| listed.insert(user.user_id.clone()));
        list.users.truncate(limit);
        let tables = self.others.values().chain([&self.own]);
        list.total = tables.flat_map(|table| table.users(tenant)).collect::<HashSet<_>>().len();
        list
    }

    /// How many visitors of all tenants are online here; with several nodes each counts its own.
    pub(super) fn total(&self) -> usize {
        self.own.total()
    }

    fn take_entry(
        &mut self,
        node: &Arc<str>,
        change: EntryChange,
        tells_all: bool,
    ) -> Option<PresenceSignal> {
        let EntryChange { tenant, user, visitor } = change;
        if visitor.as_ref().is_some_and(|visitor| visitor.is_logged) {
            let entry = (Arc::clone(node), tenant.clone(), user.clone());
            if self.departed.contains_key(&entry) {
                // If they are back, the log says so.
                return None;
            }
        }
        let table = self.others.entry(Arc::clone(node)).or_default();
        let before = table.visitor(&tenant, &user);
        let event = match (before, visitor) {
            (before, Some(visitor)) => {
                let source = if visitor.is_logged { PresenceSource::Log } else { PresenceSource::Signal };
                let online = PresenceEvent::Online(visitor.online.clone());
                table.announce(tenant.clone(), online.clone(), source);
                let is_news = before.is_none_or(|before| {
                    let (now, before) = (&visitor.online, &before.online);
                    (now.connected_at, &now.session_id, now.verified)
                        != (before.connected_at, &before.session_id, before.verified)
                });
                (is_news && (tells_all || !visitor.is_logged)).then_some(online)
            }
            (Some(before), None) => {
                table.remove(&tenant, &user);
                let (user_id, session_id) = (user.clone(), before.online.session_id);
                let verified = before.online.verified;
                let offline = UserOffline { user_id, session_id, verified, node: None };
                let is_news = !before.is_logged && !self.is_online(&tenant, &user);
                is_news.then_some(PresenceEvent::Offline(offline))
            }
            (None, None) => None,
        };
        Some(PresenceSignal { tenant, events: vec![event?] })
    }

    /// The log says that somebody left another node, or is there.
    fn note_departure(&mut self, node: &Arc<str>, stream: &StreamName, event: &PresenceEvent) {
        let Some(tenant) = stream.tenant_id() else { return };
        let entry = |user: &UserId| (Arc::clone(node), tenant, user.clone());
        match event {
            PresenceEvent::Online(online) => self.departed.remove(&entry(&online.user_id)),
            PresenceEvent::Offline(offline) => self.departed.insert(entry(&offline.user_id), Instant::now()),
        };
    }

    fn is_own(&self, node: Option<&str>) -> bool {
        node.is_none() || node == self.node.as_deref()
    }
}

/// The entry of a visitor who has gone.
fn absence(tenant: TenantId, user: UserId) -> EntryChange {
    EntryChange { tenant, user, visitor: None }
}
