//! The state of a presence actor: who is connected, what was announced, and the difference.
//!
//! It has no clock, no store and no timer. A user is online while at least one of their connections is open, or was closed
//! less than the grace period ago. So returning within the grace period changes nothing, nor does returning before the
//! `user.offline` is announced. The entry of a user shows the connection that opened or identified itself last: another
//! session of the same user is announced as one more `user.online`, which replaces the entry, without a `user.offline`.
//!
//! While a verified user is online, a visitor who only claims the same name is shown as anonymous; earlier claimants are
//! renamed. So a claim never replaces a proof, and a claimant who leaves is never announced as the verified user.
//!
//! The cost of a step does not depend on the number of users: a user is looked at when one of their connections changes,
//! and the ends of grace periods are in a queue, because all are equally long. The announcements that follow from the
//! difference are in [`announcements`].

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use amoiq_events::{SessionId, Timestamp, UserId};
use tokio::time::Instant;

use self::announcements::{LoggedPresence, OnlineEntry, PresenceAppend, subject};
use super::{ConnectedVisitor, ConnectionId, ForgetTarget};

mod announcements;

/// Who is connected, and what was announced of them.
#[derive(Default)]
pub(super) struct TenantPresence {
    connections: HashMap<ConnectionId, VisitorConnection>,
    users: HashMap<UserId, UserPresence>,
    /// The connections of sessions without messages.
    without_messages: HashMap<SessionId, Vec<ConnectionId>>,
    /// Closed connections, in the order of closing.
    closed: VecDeque<ClosedConnection>,
    /// Users with something to announce in the log. No user is twice in the queues.
    to_log: VecDeque<UserId>,
    /// Users with something to signal.
    to_signal: VecDeque<UserId>,
    underway: Option<PresenceAppend>,
    /// The append that failed, until it is tried again.
    failed: Option<PresenceAppend>,
    /// This node joined the others again while an append was underway.
    has_rejoined: bool,
    last_order: u64,
}

/// A connection that is open, or was closed less than the grace period ago.
struct VisitorConnection {
    visitor: ConnectedVisitor,
    opened_at: Timestamp,
    /// Grows with every connection that opens or identifies itself. The newest one is shown.
    order: u64,
    is_open: bool,
}

/// A user with connections, or with something to announce.
struct UserPresence {
    /// The newest last. Few users have more than one or two.
    by_order: Vec<(u64, ConnectionId)>,
    open: usize,
    connected_at: Timestamp,
    /// What the log says.
    logged: LoggedPresence,
    /// What was signalled while the log says nothing.
    signalled: Option<OnlineEntry>,
    /// In one of the queues, or in the append that is underway.
    is_pending: bool,
    /// Their events are being removed from the log: if they return, they are announced as online again.
    is_forgotten: bool,
}

/// An entry of the queue of grace periods.
struct ClosedConnection {
    connection: ConnectionId,
    order: u64,
    closed_at: Instant,
}

impl TenantPresence {
    /// A connection opened, or identified itself.
    pub(super) fn identify(&mut self, id: ConnectionId, mut visitor: ConnectedVisitor, now: Timestamp) {
        if !visitor.verified && self.is_proven(&visitor.user_id) {
            visitor.become_claimant();
        }
        let is_same_visitor =
            |known: &&mut VisitorConnection| known.is_open && known.visitor.has_same_identity(&visitor);
        if let Some(known) = self.connections.get_mut(&id).filter(is_same_visitor) {
            // Repeating the same identity does not make it newer than another tab.
            let has_written = known.visitor.has_written || visitor.has_written;
            known.visitor = ConnectedVisitor { has_written, ..visitor };
            if has_written {
                let session = known.visitor.session_id.clone();
                self.wrote(&session);
            }
            return;
        }
        let before = self.remove(id);
        let opened_at = before.as_ref().map_or(now, |before| before.opened_at);
        let is_first_proof = visitor.verified && !self.is_proven(&visitor.user_id);
        if is_first_proof {
            self.rename_claimants(&visitor.user_id, now);
        }
        self.last_order += 1;
        let (order, user_id) = (self.last_order, visitor.user_id.clone());
        let user = self.users.entry(user_id.clone()).or_insert_with(|| UserPresence::since(opened_at));
        // A user's only connection that identifies itself again is still their first; and a user who returns before their
        // `user.offline` is announced was never away.
        let same_user = before.as_ref().is_some_and(|before| before.visitor.user_id == user_id);
        let is_still_there = user.is_announced_online() && !std::mem::take(&mut user.is_forgotten);
        let is_another = is_first_proof && user.announced_verified() != Some(true);
        if is_another || (user.by_order.is_empty() && !same_user && !is_still_there) {
            user.connected_at = opened_at;
        }
        user.by_order.reserve_exact(1);
        user.by_order.push((order, id));
        user.open += 1;
        if !visitor.has_written {
            self.without_messages.entry(visitor.session_id.clone()).or_default().push(id);
        }
        self.connections.insert(id, VisitorConnection { visitor, opened_at, order, is_open: true });
        if let Some(before) = before
            && !same_user
        {
            self.end_graces(&before.visitor.user_id);
            self.enqueue(&before.visitor.user_id);
        }
        self.enqueue(&user_id);
    }

    /// A connection closed. It counts until the grace period is over.
    pub(super) fn close(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id).filter(|known| known.is_open) else { return };
        connection.is_open = false;
        if let Some(user) = self.users.get_mut(&connection.visitor.user_id) {
            user.open -= 1;
        }
        self.closed.push_back(ClosedConnection { connection: id, order: connection.order, closed_at: now });
    }

    /// A session has messages from now on.
    pub(super) fn wrote(&mut self, session: &SessionId) {
        for id in self.without_messages.remove(session).unwrap_or_default() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.visitor.has_written = true;
                let user = connection.visitor.user_id.clone();
                self.enqueue(&user);
            }
        }
    }

    /// A secret key vouched for a user: visitors who only claim the name are shown without it.
    pub(super) fn rename_claimants(&mut self, user_id: &UserId, now: Timestamp) {
        let Some(user) = self.users.get(user_id) else { return };
        let theirs = user.by_order.iter().filter_map(|(_, id)| Some((*id, self.connections.get(id)?)));
        let claims = theirs.filter(|(_, connection)| !connection.visitor.verified);
        let claims: Vec<_> =
            claims.map(|(id, known)| (id, known.is_open.then(|| known.visitor.clone()))).collect();
        for (id, open) in claims {
            match open {
                Some(mut visitor) => {
                    visitor.become_claimant();
                    self.identify(id, visitor, now);
                }
                // A grace period under this name would be the verified user's.
                None => drop(self.remove(id)),
            }
        }
        self.enqueue(user_id);
    }

    /// Removes connections, without a grace period. Returns the users with something to announce then, or with an
    /// announcement underway; [`TenantPresence::is_settled`] tells when that is done.
    pub(super) fn forget(&mut self, target: &ForgetTarget) -> Vec<UserId> {
        let theirs = self.connections.iter().filter(|(_, known)| target.includes(&known.visitor));
        let theirs: Vec<_> = theirs.map(|(id, _)| *id).collect();
        let mut users: HashSet<_> =
            theirs.into_iter().filter_map(|id| self.remove(id)).map(|gone| gone.visitor.user_id).collect();
        // A user who moved to another session may still be announced in this one.
        let underway = self.underway.iter().flat_map(|attempt| attempt.events.iter().map(subject));
        let announced =
            self.users.iter().flat_map(|(id, user)| user.announced_sessions().map(move |of| (id, of)));
        let named = announced.chain(underway).filter(|(user, session)| target.names(user, session));
        users.extend(named.map(|(user, _)| user.clone()));
        for id in &users {
            if let Some(user) = self.users.get_mut(id) {
                user.is_forgotten = true;
            }
        }
        users.iter().for_each(|user| self.enqueue(user));
        // First in the queues: an erasure does not wait for a crowd.
        for queue in [&mut self.to_log, &mut self.to_signal] {
            queue.make_contiguous().sort_by_key(|user| !users.contains(user));
        }
        users.into_iter().collect()
    }

    /// Whether nothing is left to announce of a user.
    pub(super) fn is_settled(&self, user_id: &UserId) -> bool {
        self.users.get(user_id).is_none_or(|user| !user.is_pending)
    }

    /// How long until the next grace period is over.
    pub(super) fn next_expires_in(&self, now: Instant, grace: Duration) -> Option<Duration> {
        self.closed.front().map(|next| grace.saturating_sub(now.duration_since(next.closed_at)))
    }

    /// Removes the connections whose grace period is over.
    pub(super) fn expire(&mut self, now: Instant, grace: Duration) {
        while let Some(next) = self.closed.pop_front_if(|next| now.duration_since(next.closed_at) >= grace) {
            // Not one that identified itself again since then.
            let is_unchanged = |known: &VisitorConnection| known.order == next.order;
            if self.connections.get(&next.connection).is_some_and(is_unchanged)
                && let Some(gone) = self.remove(next.connection)
            {
                self.enqueue(&gone.visitor.user_id);
            }
        }
    }

    /// Whether nobody is connected and nothing is left to announce.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether a verified visitor with this user id is connected.
    fn is_proven(&self, user_id: &UserId) -> bool {
        let is_verified = |id: &ConnectionId| self.connections.get(id).is_some_and(|it| it.visitor.verified);
        self.users.get(user_id).is_some_and(|user| user.by_order.iter().any(|(_, id)| is_verified(id)))
    }

    /// A user was announced as offline: they are online since the first of their present connections.
    fn restart(&mut self, user_id: &UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let theirs = user.by_order.iter().filter_map(|(_, id)| self.connections.get(id));
        if let Some(first) = theirs.map(|known| known.opened_at).min() {
            user.connected_at = first;
        }
    }

    /// Removes a connection. Its user may have none left then.
    fn remove(&mut self, id: ConnectionId) -> Option<VisitorConnection> {
        let connection = self.connections.remove(&id)?;
        if let Some(user) = self.users.get_mut(&connection.visitor.user_id) {
            user.by_order.retain(|(order, _)| *order != connection.order);
            user.open -= usize::from(connection.is_open);
        }
        let session = &connection.visitor.session_id;
        if let Some(connections) = self.without_messages.get_mut(session) {
            connections.retain(|other| *other != id);
            if connections.is_empty() {
                self.without_messages.remove(session);
            }
        }
        Some(connection)
    }

    /// Removes a user without an open connection at once.
    fn end_graces(&mut self, user_id: &UserId) {
        if let Some(user) = self.users.get(user_id).filter(|user| user.open == 0) {
            let theirs: Vec<_> = user.by_order.iter().map(|(_, connection)| *connection).collect();
            for connection in theirs {
                self.remove(connection);
            }
        }
    }
}

impl ConnectedVisitor {
    /// Whether the identity is the same, on whatever page.
    fn has_same_identity(&self, other: &Self) -> bool {
        self.user_id == other.user_id
            && self.session_id == other.session_id
            && self.verified == other.verified
            && self.claimed_user_id == other.claimed_user_id
    }

    /// The name is somebody else's: it is shown as a claim of an anonymous visitor.
    fn become_claimant(&mut self) {
        if !self.user_id.is_anonymous() {
            let anonymous = UserId::of_anonymous(&self.session_id);
            self.claimed_user_id = Some(std::mem::replace(&mut self.user_id, anonymous));
        }
    }
}

impl UserPresence {
    fn since(connected_at: Timestamp) -> Self {
        Self {
            by_order: Vec::new(),
            open: 0,
            connected_at,
            logged: LoggedPresence::Offline,
            signalled: None,
            is_pending: false,
            is_forgotten: false,
        }
    }
}
