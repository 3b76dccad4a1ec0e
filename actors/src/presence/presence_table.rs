//! The visitors who are online on one node, by tenant: a pure fold of the log and of signals. Folding an event twice changes
//! nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use amoiq_events::{
    Event, SessionId, ShortText, StreamName, TenantId, Timestamp, UserId,
    presence::{PresenceEvent, UserOnline},
    session::{MessageSender, SessionEvent, VisitedPage},
    signals::SignalledVisitor,
};

/// A visitor who is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineUser {
    /// The user id that agents see.
    pub user_id: UserId,
    /// Their newest session.
    pub session_id: SessionId,
    /// Since when they are online.
    pub connected_at: Timestamp,
    /// Whether a secret key vouched for the user id; `None` where the log does not say.
    pub verified: Option<bool>,
    /// The user id that they claim, if it is somebody else's.
    pub claimed_user_id: Option<UserId>,
    /// The site's domain.
    pub domain: Option<ShortText>,
    /// The site's origin.
    pub origin: Option<ShortText>,
    /// The page.
    pub url: Option<ShortText>,
}

/// A tenant's visitors who are online.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnlineList {
    /// The newest ones, the newest first.
    pub users: Vec<OnlineUser>,
    /// How many are online in all.
    pub total: usize,
}

/// The visitors who are online on one node.
#[derive(Default)]
pub(super) struct PresenceTable {
    tenants: HashMap<TenantId, TenantVisitors>,
    /// Whose entries changed, if anybody wants to know.
    changed: Option<HashSet<(TenantId, UserId)>>,
    /// The users of each session, by the name of its stream, so that a message's stream is looked up without parsing it.
    sessions: HashMap<StreamName, Vec<UserId>>,
}

/// The online visitors of one tenant.
#[derive(Default)]
struct TenantVisitors {
    /// The time under which each is in `by_age`.
    since: HashMap<UserId, Timestamp>,
    /// The oldest first. The user id distinguishes visitors who came in the same millisecond.
    by_age: BTreeMap<(Timestamp, UserId), ListedVisitor>,
}

/// An entry of the list.
struct ListedVisitor {
    user: OnlineUser,
    source: PresenceSource,
}

/// What announced a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PresenceSource {
    /// The log: the visitor has written.
    Log,
    /// A signal: the visitor has not written. An older `user.offline` of the log does not end this entry.
    Signal,
}

impl PresenceTable {
    /// Remembers from now on whose entries change.
    pub(super) fn note_changes(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// Whose entries changed since this was last asked, at most so many of them.
    pub(super) fn take_changes(&mut self, most: usize) -> Vec<(TenantId, UserId)> {
        let Some(changed) = &mut self.changed else { return Vec::new() };
        let mut left = most;
        changed
            .extract_if(|_| {
                let is_taken = left > 0;
                left = left.saturating_sub(1);
                is_taken
            })
            .collect()
    }

    /// Their entries are to be noted as changed again.
    pub(super) fn note(&mut self, entries: impl IntoIterator<Item = (TenantId, UserId)>) {
        if let Some(changed) = &mut self.changed {
            changed.extend(entries);
        }
    }

    /// Everybody.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&TenantId, &UserId)> {
        self.tenants
            .iter()
            .flat_map(|(tenant, visitors)| visitors.since.keys().map(move |user| (tenant, user)))
    }

    /// A visitor who is online.
    pub(super) fn visitor(&self, tenant: &TenantId, user: &UserId) -> Option<SignalledVisitor> {
        let entry = self.tenants.get(tenant)?.get(user)?;
        Some(SignalledVisitor {
            online: entry.user.announcement(),
            is_logged: entry.source == PresenceSource::Log,
        })
    }

    /// What announced a user who is online.
    pub(super) fn source(&self, tenant: &TenantId, user: &UserId) -> Option<PresenceSource> {
        Some(self.tenants.get(tenant)?.get(user)?.source)
    }

    /// Whether a user is online.
    pub(super) fn has(&self, tenant: &TenantId, user: &UserId) -> bool {
        self.tenants.get(tenant).is_some_and(|visitors| visitors.since.contains_key(user))
    }

    /// A tenant's users who are online.
    pub(super) fn users(&self, tenant: &TenantId) -> impl Iterator<Item = &UserId> {
        self.tenants.get(tenant).into_iter().flat_map(|visitors| visitors.since.keys())
    }

    /// Whether a session has visitors here.
    pub(super) fn has_session(&self, stream: &StreamName) -> bool {
        self.sessions.contains_key(stream)
    }

    /// Folds an event of a tenant.
    pub(super) fn apply(&mut self, stream: &StreamName, event: Event) {
        match event {
            Event::Presence(event) => {
                let Some(tenant) = stream.tenant_id() else { return };
                self.announce(tenant, event, PresenceSource::Log);
            }
            Event::Session(SessionEvent::MessageCreated(message))
                if message.sender == MessageSender::User =>
            {
                if let Some(page) = message.page {
                    self.set_page(stream, &page);
                }
            }
            Event::Session(_) | Event::Tenant(_) | Event::Node(_) => {}
        }
    }

    /// Folds what is announced.
    pub(super) fn announce(&mut self, tenant: TenantId, event: PresenceEvent, source: PresenceSource) {
        match event {
            PresenceEvent::Online(online) => self.add(tenant, online, source),
            PresenceEvent::Offline(offline) => {
                let known = self.tenants.get(&tenant).and_then(|visitors| visitors.get(&offline.user_id));
                if known.is_some_and(|known| known.source == source) {
                    self.remove(&tenant, &offline.user_id);
                }
            }
        }
    }

    /// The node started: whoever an earlier process listed is gone. Signals are of the process that runs.
    pub(super) fn node_started(&mut self) {
        let logged = |visitors: &TenantVisitors| {
            let old = visitors.by_age.iter().filter(|(_, entry)| entry.source == PresenceSource::Log);
            old.map(|((_, user), _)| user.clone()).collect::<Vec<_>>()
        };
        let gone: Vec<_> =
            self.tenants.iter().map(|(tenant, visitors)| (tenant.clone(), logged(visitors))).collect();
        for (tenant, users) in gone {
            users.iter().for_each(|user| self.remove(&tenant, user));
        }
    }

    /// The newest of a tenant's visitors, and how many there are.
    pub(super) fn newest(&self, tenant: &TenantId, limit: usize) -> OnlineList {
        let Some(visitors) = self.tenants.get(tenant) else { return OnlineList::default() };
        let users = visitors.by_age.values().rev().take(limit).map(|entry| entry.user.clone()).collect();
        OnlineList { users, total: visitors.by_age.len() }
    }

    /// How many visitors of all tenants are online.
    pub(super) fn total(&self) -> usize {
        self.tenants.values().map(|visitors| visitors.by_age.len()).sum()
    }

    fn add(&mut self, tenant: TenantId, online: UserOnline, source: PresenceSource) {
        let UserOnline { user_id, session_id, connected_at, verified, claimed_user_id, .. } = online;
        let key = (connected_at, user_id.clone());
        let known = self.tenants.get_mut(&tenant).and_then(|visitors| visitors.by_age.get_mut(&key));
        let is_same = |known: &&mut ListedVisitor| {
            known.user.session_id == session_id && known.user.verified == verified
        };
        if let Some(known) = known.filter(is_same) {
            // Announced again, because the visitor has written now or because an append had an unknown outcome. The page
            // here is newer.
            known.source = source;
            self.note([(tenant, user_id)]);
            return;
        }
        self.remove(&tenant, &user_id);
        let stream = StreamName::session(&tenant, &session_id);
        let users = self.sessions.entry(stream).or_default();
        // Few sessions have more than one user.
        users.reserve_exact(1);
        users.push(user_id.clone());
        let entry = self.changed.is_some().then(|| (tenant.clone(), user_id.clone()));
        let visitors = self.tenants.entry(tenant).or_default();
        visitors.since.insert(user_id.clone(), connected_at);
        let UserOnline { domain, origin, url, .. } = online;
        let user =
            OnlineUser { user_id, session_id, connected_at, verified, claimed_user_id, domain, origin, url };
        visitors.by_age.insert(key, ListedVisitor { user, source });
        self.note(entry);
    }

    pub(super) fn remove(&mut self, tenant: &TenantId, user_id: &UserId) {
        let Some(visitors) = self.tenants.get_mut(tenant) else { return };
        let gone = visitors.take(user_id);
        if visitors.by_age.is_empty() {
            self.tenants.remove(tenant);
        }
        let Some(gone) = gone else { return };
        if let Some(changed) = &mut self.changed {
            changed.insert((tenant.clone(), user_id.clone()));
        }
        let stream = StreamName::session(tenant, &gone.user.session_id);
        if let Some(users) = self.sessions.get_mut(&stream) {
            users.retain(|other| other != user_id);
            if users.is_empty() {
                self.sessions.remove(&stream);
            }
        }
    }

    /// The visitor of a session is on another page. Fields that it does not name are cleared.
    fn set_page(&mut self, stream: &StreamName, page: &VisitedPage) {
        let (Some(users), Some(tenant)) = (self.sessions.get(stream), stream.tenant_id()) else { return };
        let Some(visitors) = self.tenants.get_mut(&tenant) else { return };
        for user_id in users {
            if let Some(ListedVisitor { user, .. }) = visitors.get_mut(user_id) {
                user.domain.clone_from(&page.domain);
                user.origin.clone_from(&page.origin);
                user.url.clone_from(&page.url);
            }
            if let Some(changed) = &mut self.changed {
                changed.insert((tenant.clone(), user_id.clone()));
            }
        }
    }
}

impl OnlineUser {
    /// What staff are told of them.
    fn announcement(&self) -> UserOnline {
        let OnlineUser { user_id, session_id, connected_at, verified, claimed_user_id, domain, origin, url } =
            self.clone();
        UserOnline {
            user_id,
            session_id,
            connected_at,
            verified,
            claimed_user_id,
            is_told: false,
            node: None,
            domain,
            origin,
            url,
        }
    }
}

impl TenantVisitors {
    fn get(&self, user_id: &UserId) -> Option<&ListedVisitor> {
        let since = *self.since.get(user_id)?;
        self.by_age.get(&(since, user_id.clone()))
    }

    fn get_mut(&mut self, user_id: &UserId) -> Option<&mut ListedVisitor> {
        let since = *self.since.get(user_id)?;
        self.by_age.get_mut(&(since, user_id.clone()))
    }

    fn take(&mut self, user_id: &UserId) -> Option<ListedVisitor> {
        let since = self.since.remove(user_id)?;
        self.by_age.remove(&(since, user_id.clone()))
    }
}
