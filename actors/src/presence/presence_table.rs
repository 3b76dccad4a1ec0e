//! Everybody who is online, by tenant: a pure fold of the log and of the signals. Folding an event twice changes
//! nothing.

use std::collections::{BTreeMap, HashMap};

use amoiq_events::{
    Event, SessionId, ShortText, StreamName, TenantId, Timestamp, UserId,
    node::NodeEvent,
    presence::{PresenceEvent, UserOnline},
    session::{MessageSender, SessionEvent, VisitedPage},
};

/// Somebody who is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineUser {
    /// Who, as agents see them.
    pub user_id: UserId,
    /// Their newest session.
    pub session_id: SessionId,
    /// Since when.
    pub connected_at: Timestamp,
    /// Whether a secret key vouched for them; nothing where the log does not say.
    pub verified: Option<bool>,
    /// Who they say they are, where that is another's name.
    pub claimed_user_id: Option<UserId>,
    /// The site's domain.
    pub domain: Option<ShortText>,
    /// The site's origin.
    pub origin: Option<ShortText>,
    /// The page.
    pub url: Option<ShortText>,
}

/// Who of a tenant's visitors is online.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnlineList {
    /// Those who came last, the newest first.
    pub users: Vec<OnlineUser>,
    /// How many there are in all.
    pub total: usize,
}

/// Everybody who is online.
#[derive(Default)]
pub(super) struct PresenceTable {
    tenants: HashMap<TenantId, TenantVisitors>,
    /// Who is shown under a session, by its stream's name: a message is looked up as it comes, without
    /// taking the name apart.
    sessions: HashMap<StreamName, Vec<UserId>>,
}

/// The visitors of one tenant.
#[derive(Default)]
struct TenantVisitors {
    /// Where each stands in `by_age`.
    since: HashMap<UserId, Timestamp>,
    /// The oldest first. The user's id tells apart those who came in the same millisecond.
    by_age: BTreeMap<(Timestamp, UserId), ListedVisitor>,
}

/// Somebody who is listed.
struct ListedVisitor {
    user: OnlineUser,
    source: PresenceSource,
}

/// Who says that somebody came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PresenceSource {
    /// The log, of visitors who have written.
    Log,
    /// A signal, of those who have not. What the log says of the same user comes late, and does not take it back.
    Signal,
}

impl PresenceTable {
    /// Whether an event of this stream can change anything.
    pub(super) fn concerns(&self, stream: &StreamName) -> bool {
        let is_said = |kind: &str| kind == "presence" || kind == "node";
        stream.as_str().split_once(':').is_some_and(|(kind, _)| is_said(kind))
            || self.sessions.contains_key(stream)
    }

    /// Folds an event in.
    pub(super) fn apply(&mut self, stream: &StreamName, event: Event) {
        match event {
            Event::Node(NodeEvent::Started(_)) => self.begin(),
            Event::Presence(event) => {
                let Some(tenant) = stream.tenant_id() else { return };
                self.hear(tenant, event, PresenceSource::Log);
            }
            Event::Session(SessionEvent::MessageCreated(message))
                if message.sender == MessageSender::User =>
            {
                if let Some(page) = message.page {
                    self.moved(stream, &page);
                }
            }
            Event::Session(_) | Event::Tenant(_) => {}
        }
    }

    /// Takes in what is told of visitors who have not written.
    pub(super) fn signal(&mut self, tenant: &TenantId, events: &[PresenceEvent]) {
        for event in events {
            self.hear(tenant.clone(), event.clone(), PresenceSource::Signal);
        }
    }

    fn hear(&mut self, tenant: TenantId, event: PresenceEvent, source: PresenceSource) {
        match event {
            PresenceEvent::Online(online) => self.came(tenant, online, source),
            PresenceEvent::Offline(offline) => {
                let known = self.tenants.get(&tenant).and_then(|visitors| visitors.get(&offline.user_id));
                if known.is_some_and(|known| known.source == source) {
                    self.went(&tenant, &offline.user_id);
                }
            }
        }
    }

    /// A process took over. Signals are its own.
    fn begin(&mut self) {
        let is_over = |visitors: &TenantVisitors| {
            let old = visitors.by_age.iter().filter(|(_, entry)| entry.source == PresenceSource::Log);
            old.map(|((_, user), _)| user.clone()).collect::<Vec<_>>()
        };
        let over: Vec<_> =
            self.tenants.iter().map(|(tenant, visitors)| (tenant.clone(), is_over(visitors))).collect();
        for (tenant, users) in over {
            users.iter().for_each(|user| self.went(&tenant, user));
        }
    }

    /// Those of a tenant who came last, and how many there are.
    pub(super) fn newest(&self, tenant: &TenantId, limit: usize) -> OnlineList {
        let Some(visitors) = self.tenants.get(tenant) else { return OnlineList::default() };
        let users = visitors.by_age.values().rev().take(limit).map(|entry| entry.user.clone()).collect();
        OnlineList { users, total: visitors.by_age.len() }
    }

    /// How many there are of all tenants.
    pub(super) fn total(&self) -> usize {
        self.tenants.values().map(|visitors| visitors.by_age.len()).sum()
    }

    fn came(&mut self, tenant: TenantId, online: UserOnline, source: PresenceSource) {
        let UserOnline { user_id, session_id, connected_at, verified, claimed_user_id, .. } = online;
        let key = (connected_at, user_id.clone());
        let known = self.tenants.get_mut(&tenant).and_then(|visitors| visitors.by_age.get_mut(&key));
        let is_same = |known: &&mut ListedVisitor| {
            known.user.session_id == session_id && known.user.verified == verified
        };
        if let Some(known) = known.filter(is_same) {
            // Said again, because the visitor has written now, or because the store did not say whether it was said:
            // the page known here is newer.
            known.source = source;
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
        let UserOnline { domain, origin, url, .. } = online;
        let user =
            OnlineUser { user_id, session_id, connected_at, verified, claimed_user_id, domain, origin, url };
        visitors.by_age.insert(key, ListedVisitor { user, source });
    }

    fn went(&mut self, tenant: &TenantId, user_id: &UserId) {
        let Some(visitors) = self.tenants.get_mut(tenant) else { return };
        let gone = visitors.take(user_id);
        if visitors.by_age.is_empty() {
            self.tenants.remove(tenant);
        }
        let Some(gone) = gone else { return };
        let stream = StreamName::session(tenant, &gone.user.session_id);
        if let Some(users) = self.sessions.get_mut(&stream) {
            users.retain(|other| other != user_id);
            if users.is_empty() {
                self.sessions.remove(&stream);
            }
        }
    }

    /// The visitor of a session told their page: what it does not say is not known any more.
    fn moved(&mut self, stream: &StreamName, page: &VisitedPage) {
        let (Some(users), Some(tenant)) = (self.sessions.get(stream), stream.tenant_id()) else { return };
        let Some(visitors) = self.tenants.get_mut(&tenant) else { return };
        for user_id in users {
            if let Some(ListedVisitor { user, .. }) = visitors.get_mut(user_id) {
                user.domain.clone_from(&page.domain);
                user.origin.clone_from(&page.origin);
                user.url.clone_from(&page.url);
            }
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
