//! Everybody who is online, by tenant: a pure fold. Folding an event twice changes nothing.

use std::collections::{BTreeMap, HashMap};

use amoiq_events::{
    Event, StreamName, TenantId, Timestamp, UserId,
    node::NodeEvent,
    presence::{PresenceEvent, UserOnline},
    session::{Page, Sender, SessionEvent},
};

use super::{Online, OnlineUser};

/// Everybody who is online.
#[derive(Default)]
pub(super) struct Roster {
    tenants: HashMap<TenantId, Visitors>,
    /// Who is shown under a session, by its stream's name: a message is looked up as it comes, without
    /// taking the name apart.
    sessions: HashMap<StreamName, Vec<UserId>>,
}

/// The visitors of one tenant.
#[derive(Default)]
struct Visitors {
    /// Where each stands in `by_age`.
    since: HashMap<UserId, Timestamp>,
    /// The oldest first. The user's id tells apart those who came in the same millisecond.
    by_age: BTreeMap<(Timestamp, UserId), OnlineUser>,
}

impl Roster {
    /// Whether an event of this stream can change anything.
    pub(super) fn concerns(&self, stream: &StreamName) -> bool {
        let is_said = |kind: &str| kind == "presence" || kind == "node";
        stream.as_str().split_once(':').is_some_and(|(kind, _)| is_said(kind))
            || self.sessions.contains_key(stream)
    }

    /// Folds an event in.
    pub(super) fn apply(&mut self, stream: &StreamName, event: Event) {
        match event {
            Event::Node(NodeEvent::Started(_)) => *self = Self::default(),
            Event::Presence(event) => {
                let Some(tenant) = stream.tenant_id() else { return };
                match event {
                    PresenceEvent::Online(online) => self.came(tenant, online),
                    PresenceEvent::Offline(offline) => self.went(&tenant, &offline.user_id),
                }
            }
            Event::Session(SessionEvent::MessageCreated(message)) if message.sender == Sender::User => {
                if let Some(page) = message.page {
                    self.moved(stream, &page);
                }
            }
            Event::Session(_) | Event::Tenant(_) => {}
        }
    }

    /// Those of a tenant who came last, and how many there are.
    pub(super) fn newest(&self, tenant: &TenantId, limit: usize) -> Online {
        let Some(visitors) = self.tenants.get(tenant) else { return Online::default() };
        let users = visitors.by_age.values().rev().take(limit).cloned().collect();
        Online { users, total: visitors.by_age.len() }
    }

    /// How many there are of all tenants.
    pub(super) fn total(&self) -> usize {
        self.tenants.values().map(|visitors| visitors.by_age.len()).sum()
    }

    fn came(&mut self, tenant: TenantId, online: UserOnline) {
        let UserOnline { user_id, session_id, connected_at, domain, origin, url } = online;
        let key = (connected_at, user_id.clone());
        let known = self.tenants.get(&tenant).and_then(|visitors| visitors.by_age.get(&key));
        if known.is_some_and(|known| known.session_id == session_id) {
            // Said again, because the store did not say whether it was: the page known here is newer.
            return;
        }
        self.went(&tenant, &user_id);
        let stream = StreamName::session(&tenant, &session_id);
        let users = self.sessions.entry(stream).or_default();
        // Hardly a session has more than one, so it begins with a place for one.
        users.reserve_exact(1);
        users.push(user_id.clone());
        let visitors = self.tenants.entry(tenant).or_default();
        visitors.since.insert(user_id.clone(), connected_at);
        visitors.by_age.insert(key, OnlineUser { user_id, session_id, connected_at, domain, origin, url });
    }

    fn went(&mut self, tenant: &TenantId, user_id: &UserId) {
        let Some(visitors) = self.tenants.get_mut(tenant) else { return };
        let gone = visitors.take(user_id);
        if visitors.by_age.is_empty() {
            self.tenants.remove(tenant);
        }
        let Some(gone) = gone else { return };
        let stream = StreamName::session(tenant, &gone.session_id);
        if let Some(users) = self.sessions.get_mut(&stream) {
            users.retain(|other| other != user_id);
            if users.is_empty() {
                self.sessions.remove(&stream);
            }
        }
    }

    /// The visitor of a session told their page: what it does not say is not known any more.
    fn moved(&mut self, stream: &StreamName, page: &Page) {
        let (Some(users), Some(tenant)) = (self.sessions.get(stream), stream.tenant_id()) else { return };
        let Some(visitors) = self.tenants.get_mut(&tenant) else { return };
        for user_id in users {
            if let Some(user) = visitors.get_mut(user_id) {
                user.domain.clone_from(&page.domain);
                user.origin.clone_from(&page.origin);
                user.url.clone_from(&page.url);
            }
        }
    }
}

impl Visitors {
    fn get_mut(&mut self, user_id: &UserId) -> Option<&mut OnlineUser> {
        let since = *self.since.get(user_id)?;
        self.by_age.get_mut(&(since, user_id.clone()))
    }

    fn take(&mut self, user_id: &UserId) -> Option<OnlineUser> {
        let since = self.since.remove(user_id)?;
        self.by_age.remove(&(since, user_id.clone()))
    }
}
