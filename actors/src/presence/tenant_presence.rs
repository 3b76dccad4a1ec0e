//! Who is connected, what was said of them, and the difference: the state of a presence actor.
//!
//! It has no clock, no store and no timer. A user is there while at least one of their connections is
//! open or closed less than the grace ago, so coming back within the grace changes nothing; nor does coming
//! back before it is said that they went. What is shown of a user is the connection that opened or named
//! itself last: another session of the same user is one more `user.online`, which replaces the entry, and no
//! `user.offline`.
//!
//! While a user for whom a secret key vouched is there, whoever only claims the same name is shown as an anonymous
//! visitor; those who came before are renamed. So a claim never takes the place of a proof, and its end is never told as
//! the end of the proven user.
//!
//! Every step costs the same, however many users there are: a user is looked at when one of their
//! connections changed, and the ends of the graces stand in a queue, since they are equally long.
//! What follows from the difference is in [`announcements`].

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use amoiq_events::{SessionId, Timestamp, UserId};
use tokio::time::Instant;

use self::announcements::{LoggedPresence, OnlineEntry, PresenceAppend, subject};
use super::{ConnectedVisitor, ConnectionId, ForgetTarget};

mod announcements;

/// Who is connected and what was said of them.
#[derive(Default)]
pub(super) struct TenantPresence {
    connections: HashMap<ConnectionId, VisitorConnection>,
    users: HashMap<UserId, UserPresence>,
    /// The connections in sessions without messages.
    silent: HashMap<SessionId, Vec<ConnectionId>>,
    /// Connections that closed, in that order.
    leaving: VecDeque<ClosedConnection>,
    /// Users of whom the log is to say something, each once, and no user in both queues.
    to_log: VecDeque<UserId>,
    /// Users of whom something is to be signalled.
    to_signal: VecDeque<UserId>,
    underway: Option<PresenceAppend>,
    /// What did not succeed, until it is tried again.
    failed: Option<PresenceAppend>,
    last_turn: u64,
}

/// A connection that is open, or closed less than the grace ago.
struct VisitorConnection {
    visitor: ConnectedVisitor,
    opened_at: Timestamp,
    /// Grows with every opening and naming: the newest connection is the one that is shown.
    turn: u64,
    is_open: bool,
}

/// Somebody who has connections, or of whom there is something to say.
struct UserPresence {
    /// The newest last. Hardly anybody has more than a few, so it begins with a place for one.
    by_turn: Vec<(u64, ConnectionId)>,
    open: usize,
    connected_at: Timestamp,
    /// What the log says of them.
    logged: LoggedPresence,
    /// What was signalled of them, while the log says nothing.
    signalled: Option<OnlineEntry>,
    /// In one of the queues or in the append that is underway.
    is_pending: bool,
    /// What the log says of them is being removed from it: whoever comes back is said to be online again.
    is_forgotten: bool,
}

struct ClosedConnection {
    connection: ConnectionId,
    turn: u64,
    closed_at: Instant,
}

impl TenantPresence {
    /// A connection opened, or is somebody else now.
    pub(super) fn enter(&mut self, id: ConnectionId, mut visitor: ConnectedVisitor, now: Timestamp) {
        if !visitor.verified && self.is_proven(&visitor.user_id) {
            visitor.disown();
        }
        let is_named_again =
            |known: &&mut VisitorConnection| known.is_open && known.visitor.is_same(&visitor);
        if let Some(known) = self.connections.get_mut(&id).filter(is_named_again) {
            // Who says the same name again is not newer than another tab.
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
            self.displace(&visitor.user_id, now);
        }
        self.last_turn += 1;
        let (turn, user_id) = (self.last_turn, visitor.user_id.clone());
        let user = self.users.entry(user_id.clone()).or_insert_with(|| UserPresence::since(opened_at));
        // Naming itself again, the only connection of a user is their first all the same; and who is back before
        // it was said that they went was there all the time.
        let same_user = before.as_ref().is_some_and(|before| before.visitor.user_id == user_id);
        let is_still_there = user.is_said_online() && !std::mem::take(&mut user.is_forgotten);
        let is_another = is_first_proof && user.said_verified() != Some(true);
        if is_another || (user.by_turn.is_empty() && !same_user && !is_still_there) {
            user.connected_at = opened_at;
        }
        user.by_turn.reserve_exact(1);
        user.by_turn.push((turn, id));
        user.open += 1;
        if !visitor.has_written {
            self.silent.entry(visitor.session_id.clone()).or_default().push(id);
        }
        self.connections.insert(id, VisitorConnection { visitor, opened_at, turn, is_open: true });
        if let Some(before) = before
            && !same_user
        {
            self.end_graces(&before.visitor.user_id);
            self.look_at(&before.visitor.user_id);
        }
        self.look_at(&user_id);
    }

    /// A connection closed. It counts until the grace is over.
    pub(super) fn leave(&mut self, id: ConnectionId, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id).filter(|known| known.is_open) else { return };
        connection.is_open = false;
        if let Some(user) = self.users.get_mut(&connection.visitor.user_id) {
            user.open -= 1;
        }
        self.leaving.push_back(ClosedConnection { connection: id, turn: connection.turn, closed_at: now });
    }

    /// There are messages in a session from now on.
    pub(super) fn wrote(&mut self, session: &SessionId) {
        for id in self.silent.remove(session).unwrap_or_default() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.visitor.has_written = true;
                let user = connection.visitor.user_id.clone();
                self.look_at(&user);
            }
        }
    }

    /// A secret key vouched for a user: those who only claim the name are shown without it.
    pub(super) fn displace(&mut self, user_id: &UserId, now: Timestamp) {
        let Some(user) = self.users.get(user_id) else { return };
        let theirs = user.by_turn.iter().filter_map(|(_, id)| Some((*id, self.connections.get(id)?)));
        let claims = theirs.filter(|(_, connection)| !connection.visitor.verified);
        let claims: Vec<_> =
            claims.map(|(id, known)| (id, known.is_open.then(|| known.visitor.clone()))).collect();
        for (id, open) in claims {
            match open {
                Some(mut visitor) => {
                    visitor.disown();
                    self.enter(id, visitor, now);
                }
                // Whom it would be the grace of is not there under this name any more.
                None => drop(self.remove(id)),
            }
        }
        self.look_at(user_id);
    }

    /// Takes out the connections of somebody, without a grace. Gives the users of whom there is something to say
    /// then, or something on its way: [`TenantPresence::is_settled`] tells when it is said.
    pub(super) fn forget(&mut self, whom: &ForgetTarget) -> Vec<UserId> {
        let theirs = self.connections.iter().filter(|(_, known)| whom.is(&known.visitor));
        let theirs: Vec<_> = theirs.map(|(id, _)| *id).collect();
        let mut users: HashSet<_> =
            theirs.into_iter().filter_map(|id| self.remove(id)).map(|gone| gone.visitor.user_id).collect();
        // Who has moved on to another session may still be said to be in this one.
        let underway = self.underway.iter().flat_map(|attempt| attempt.events.iter().map(subject));
        let said = self.users.iter().flat_map(|(id, user)| user.said_sessions().map(move |of| (id, of)));
        let named = said.chain(underway).filter(|(user, session)| whom.names(user, session));
        users.extend(named.map(|(user, _)| user.clone()));
        for id in &users {
            if let Some(user) = self.users.get_mut(id) {
                user.is_forgotten = true;
            }
        }
        users.iter().for_each(|user| self.look_at(user));
        // An erasure does not wait for a crowd.
        for queue in [&mut self.to_log, &mut self.to_signal] {
            queue.make_contiguous().sort_by_key(|user| !users.contains(user));
        }
        users.into_iter().collect()
    }

    /// Whether nothing is left to say of a user.
    pub(super) fn is_settled(&self, user_id: &UserId) -> bool {
        self.users.get(user_id).is_none_or(|user| !user.is_pending)
    }

    /// How long until the next grace is over.
    pub(super) fn next_expires_in(&self, now: Instant, grace: Duration) -> Option<Duration> {
        self.leaving.front().map(|next| grace.saturating_sub(now.duration_since(next.closed_at)))
    }

    /// Forgets the connections whose grace is over.
    pub(super) fn expire(&mut self, now: Instant, grace: Duration) {
        while let Some(next) = self.leaving.pop_front_if(|next| now.duration_since(next.closed_at) >= grace) {
            // One that is somebody else since then, or whose user was sent off at once, is not meant.
            let is_meant = |known: &VisitorConnection| known.turn == next.turn;
            if self.connections.get(&next.connection).is_some_and(is_meant)
                && let Some(gone) = self.remove(next.connection)
            {
                self.look_at(&gone.visitor.user_id);
            }
        }
    }

    /// Whether nobody is there and nothing is left to say.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether somebody is there under this name for whom a secret key vouched.
    fn is_proven(&self, user_id: &UserId) -> bool {
        let is_verified = |id: &ConnectionId| self.connections.get(id).is_some_and(|it| it.visitor.verified);
        self.users.get(user_id).is_some_and(|user| user.by_turn.iter().any(|(_, id)| is_verified(id)))
    }

    /// It was said that a user went: they are there since the first of the connections that they have by now.
    fn begin_anew(&mut self, user_id: &UserId) {
        let Some(user) = self.users.get_mut(user_id) else { return };
        let theirs = user.by_turn.iter().filter_map(|(_, id)| self.connections.get(id));
        if let Some(first) = theirs.map(|known| known.opened_at).min() {
            user.connected_at = first;
        }
    }

    /// Takes a connection out; its user may be without any then.
    fn remove(&mut self, id: ConnectionId) -> Option<VisitorConnection> {
        let connection = self.connections.remove(&id)?;
        if let Some(user) = self.users.get_mut(&connection.visitor.user_id) {
            user.by_turn.retain(|(turn, _)| *turn != connection.turn);
            user.open -= usize::from(connection.is_open);
        }
        let session = &connection.visitor.session_id;
        if let Some(silent) = self.silent.get_mut(session) {
            silent.retain(|other| *other != id);
            if silent.is_empty() {
                self.silent.remove(session);
            }
        }
        Some(connection)
    }

    /// A user without an open connection is gone at once.
    fn end_graces(&mut self, user_id: &UserId) {
        if let Some(user) = self.users.get(user_id).filter(|user| user.open == 0) {
            let theirs: Vec<_> = user.by_turn.iter().map(|(_, connection)| *connection).collect();
            for connection in theirs {
                self.remove(connection);
            }
        }
    }
}

impl ConnectedVisitor {
    /// Whether this is nobody else, wherever they are.
    fn is_same(&self, other: &Self) -> bool {
        self.user_id == other.user_id
            && self.session_id == other.session_id
            && self.verified == other.verified
            && self.claimed_user_id == other.claimed_user_id
    }

    /// The name is somebody else's: it is shown as a claim.
    fn disown(&mut self) {
        if !self.user_id.is_anonymous() {
            let anonymous = UserId::of_anonymous(&self.session_id);
            self.claimed_user_id = Some(std::mem::replace(&mut self.user_id, anonymous));
        }
    }
}

impl UserPresence {
    fn since(connected_at: Timestamp) -> Self {
        Self {
            by_turn: Vec::new(),
            open: 0,
            connected_at,
            logged: LoggedPresence::Offline,
            signalled: None,
            is_pending: false,
            is_forgotten: false,
        }
    }
}
