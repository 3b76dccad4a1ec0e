//! Who is connected, what was said of them, and the difference: the state of a presence actor.
//!
//! It has no clock, no store and no timer. A user is there while at least one of their connections is
//! open or closed less than the grace ago, so coming back within the grace changes nothing; nor does coming
//! back before the log says that they went. What is shown of a user is the connection that opened or named
//! itself last: another session of the same user is one more `user.online`, which replaces the entry, and no
//! `user.offline`.
//!
//! Every step costs the same, however many users there are: a user is looked at when one of their
//! connections changed, and the ends of the graces stand in a queue, since they are equally long.
//!
//! An append whose end is unknown leaves its users unknown, and they are said to be online or offline
//! again. As long as the difference is the same it goes under the same ids, so the store recognises it;
//! else the log may say a thing twice, which every fold of it has to bear.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use amoiq_events::{
    Ambient, Event, NewEvent, SessionId, Timestamp, UserId,
    event::Cause,
    presence::{PresenceEvent, UserOffline, UserOnline},
    store::MAX_APPEND_EVENTS,
};
use tokio::time::Instant;

use super::{ConnectionId, Visitor, Whom};

/// How much one append says. Whoever watches is sent it at once, so it is a small part of what may wait for them:
/// visitors decide how many they are and how long their addresses, and must not make a reader a slow one.
const MOST_BYTES: usize = 256 * 1024;

/// Who is connected and what the log says.
#[derive(Default)]
pub(super) struct Roll {
    connections: HashMap<ConnectionId, Connection>,
    users: HashMap<UserId, User>,
    /// Connections that closed, in that order.
    leaving: VecDeque<Leaving>,
    /// Users to be looked at, each once.
    changed: VecDeque<UserId>,
    underway: Option<Attempt>,
    /// What did not succeed, until it is tried again.
    failed: Option<Attempt>,
    last_turn: u64,
}

/// A connection that is open, or closed less than the grace ago.
struct Connection {
    visitor: Visitor,
    opened_at: Timestamp,
    /// Grows with every opening and naming: the newest connection is the one that is shown.
    turn: u64,
    is_open: bool,
}

/// Somebody who has connections, or of whom there is something to say.
struct User {
    /// The newest last. Hardly anybody has more than a few, so it begins with a place for one.
    by_turn: Vec<(u64, ConnectionId)>,
    open: usize,
    connected_at: Timestamp,
    said: Said,
    /// In `changed` or in the append that is underway.
    is_pending: bool,
    /// What the log says of them is being removed from it: whoever comes back is said to be online again.
    is_forgotten: bool,
}

/// What the log says of a user.
#[derive(Clone)]
enum Said {
    Offline,
    Online {
        session: SessionId,
        since: Timestamp,
    },
    /// One or the other: an append did not say how it ended.
    Unknown {
        session: SessionId,
    },
}

struct Leaving {
    connection: ConnectionId,
    turn: u64,
    closed_at: Instant,
}

/// Events of one append.
struct Attempt {
    events: Vec<PresenceEvent>,
    envelopes: Vec<NewEvent>,
}

impl Roll {
    /// A connection opened, or is somebody else now.
    pub(super) fn enter(&mut self, id: ConnectionId, visitor: Visitor, now: Timestamp) {
        let is_named_again = |known: &&mut Connection| known.is_open && known.visitor.is_same(&visitor);
        if let Some(known) = self.connections.get_mut(&id).filter(is_named_again) {
            // Who says the same name again is not newer than another tab.
            known.visitor = visitor;
            return;
        }
        let before = self.remove(id);
        let opened_at = before.as_ref().map_or(now, |before| before.opened_at);
        self.last_turn += 1;
        let (turn, user_id) = (self.last_turn, visitor.user_id.clone());
        let user = self.users.entry(user_id.clone()).or_insert_with(|| User::since(opened_at));
        // Naming itself again, the only connection of a user is their first all the same; and who is back before
        // it was said that they went was there all the time.
        let same_user = before.as_ref().is_some_and(|before| before.visitor.user_id == user_id);
        let is_still_there =
            matches!(user.said, Said::Online { .. }) && !std::mem::take(&mut user.is_forgotten);
        if user.by_turn.is_empty() && !same_user && !is_still_there {
            user.connected_at = opened_at;
        }
        user.by_turn.reserve_exact(1);
        user.by_turn.push((turn, id));
        user.open += 1;
        self.connections.insert(id, Connection { visitor, opened_at, turn, is_open: true });
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
        self.leaving.push_back(Leaving { connection: id, turn: connection.turn, closed_at: now });
    }

    /// Takes out the connections of somebody, without a grace. Gives the users of whom there is something to say
    /// then, or something on its way: [`Roll::is_said`] tells when it is said.
    pub(super) fn forget(&mut self, whom: &Whom) -> Vec<UserId> {
        let is_theirs = |known: &Connection| whom.names(&known.visitor.user_id, &known.visitor.session_id);
        let theirs = self.connections.iter().filter(|(_, known)| is_theirs(known));
        let theirs: Vec<_> = theirs.map(|(id, _)| *id).collect();
        let mut users: HashSet<_> =
            theirs.into_iter().filter_map(|id| self.remove(id)).map(|gone| gone.visitor.user_id).collect();
        // Who has moved on to another session may still be said to be in this one.
        let underway = self.underway.iter().flat_map(|attempt| attempt.events.iter().map(subject));
        let said = self.users.iter().filter_map(|(id, user)| Some((id, user.said.session()?)));
        let named = said.chain(underway).filter(|(user, session)| whom.names(user, session));
        users.extend(named.map(|(user, _)| user.clone()));
        for id in &users {
            if let Some(user) = self.users.get_mut(id) {
                user.is_forgotten = true;
            }
        }
        users.iter().for_each(|user| self.look_at(user));
        // An erasure does not wait for a crowd.
        self.changed.make_contiguous().sort_by_key(|user| !users.contains(user));
        users.into_iter().collect()
    }

    /// Whether nothing is left to say of a user.
    pub(super) fn is_said(&self, user_id: &UserId) -> bool {
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
            let is_meant = |known: &Connection| known.turn == next.turn;
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

    /// Whether there may be something to say.
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether an append is underway.
    pub(super) fn is_appending(&self) -> bool {
        self.underway.is_some()
    }

    /// The difference between who is connected and what the log says, or as much of it as one append
    /// takes. Its end is told by [`Roll::appended`] or [`Roll::failed`].
    pub(super) fn next_append(&mut self, ambient: &Ambient, cause: &Cause) -> Option<Vec<NewEvent>> {
        assert!(self.underway.is_none(), "one append is underway at a time");
        let failed = self.failed.take();
        // No more than what failed, or what came after it would make it another append.
        let most = failed.as_ref().map_or(MAX_APPEND_EVENTS, |failed| failed.events.len());
        let mut events = Vec::new();
        while events.len() < most
            && let Some(user_id) = self.changed.pop_front()
        {
            match self.difference(&user_id) {
                Some(event) => events.push(event),
                None => self.settle(&user_id),
            }
        }
        if events.is_empty() {
            return None;
        }
        let attempt = match failed {
            Some(failed) if failed.events == events => failed,
            _ => self.put_into_envelopes(events, ambient, cause),
        };
        let envelopes = attempt.envelopes.clone();
        self.underway = Some(attempt);
        Some(envelopes)
    }

    /// The append is durable.
    pub(super) fn appended(&mut self) {
        let Some(attempt) = self.underway.take() else { return };
        for event in attempt.events {
            let (user_id, said) = match event {
                PresenceEvent::Online(UserOnline { user_id, session_id, connected_at, .. }) => {
                    (user_id, Said::Online { session: session_id, since: connected_at })
                }
                PresenceEvent::Offline(offline) => {
                    self.begin_anew(&offline.user_id);
                    (offline.user_id, Said::Offline)
                }
            };
            if let Some(user) = self.users.get_mut(&user_id) {
                user.said = said;
                user.is_pending = false;
            }
            // They may have come or gone meanwhile.
            self.look_at(&user_id);
        }
    }

    /// The append did not succeed, or the store cannot say.
    pub(super) fn failed(&mut self, may_exist: bool) {
        let Some(attempt) = self.underway.take() else { return };
        for event in attempt.events.iter().rev() {
            let (user_id, session) = subject(event);
            if let Some(user) = self.users.get_mut(user_id)
                && may_exist
            {
                user.said = Said::Unknown { session: session.clone() };
            }
            if may_exist && matches!(event, PresenceEvent::Offline(_)) {
                self.begin_anew(user_id);
            }
            self.changed.push_front(user_id.clone());
        }
        self.failed = Some(attempt);
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
    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let Some(user) = self.users.get_mut(&connection.visitor.user_id) {
            user.by_turn.retain(|(turn, _)| *turn != connection.turn);
            user.open -= usize::from(connection.is_open);
        }
        Some(connection)
    }

    /// A user without an open connection is gone at once.
    fn end_graces(&mut self, user_id: &UserId) {
        if let Some(user) = self.users.get_mut(user_id).filter(|user| user.open == 0) {
            for (_, connection) in std::mem::take(&mut user.by_turn) {
                self.connections.remove(&connection);
            }
        }
    }

    /// Puts a user among the changed ones when there is something to say of them, and forgets one of
    /// whom there is nothing left.
    fn look_at(&mut self, user_id: &UserId) {
        let differs = self.difference(user_id).is_some();
        let Some(user) = self.users.get_mut(user_id).filter(|user| !user.is_pending) else { return };
        if differs {
            user.is_pending = true;
            self.changed.push_back(user_id.clone());
        } else {
            self.settle(user_id);
        }
    }

    /// There is nothing to say of a user any more.
    fn settle(&mut self, user_id: &UserId) {
        if let Some(user) = self.users.get_mut(user_id) {
            user.is_pending = false;
            if user.by_turn.is_empty() {
                self.users.remove(user_id);
            }
        }
    }

    /// What is to be said of a user.
    fn difference(&self, user_id: &UserId) -> Option<PresenceEvent> {
        let user = self.users.get(user_id)?;
        let newest = user.by_turn.last().and_then(|(_, id)| self.connections.get(id));
        match (newest, &user.said) {
            (None, Said::Offline) => None,
            (None, Said::Online { session, .. } | Said::Unknown { session }) => {
                let (user_id, session_id) = (user_id.clone(), session.clone());
                Some(PresenceEvent::Offline(UserOffline { user_id, session_id }))
            }
            (Some(newest), Said::Online { session, since })
                if newest.visitor.session_id == *session && user.connected_at == *since =>
            {
                None
            }
            (Some(newest), _) => {
                let Visitor { user_id, session_id, domain, origin, url } = newest.visitor.clone();
                let connected_at = user.connected_at;
                let online = UserOnline { user_id, session_id, connected_at, domain, origin, url };
                Some(PresenceEvent::Online(online))
            }
        }
    }

    /// What is more than one append may hold is left for the next: addresses can be long.
    fn put_into_envelopes(
        &mut self,
        mut events: Vec<PresenceEvent>,
        ambient: &Ambient,
        cause: &Cause,
    ) -> Attempt {
        let (mut envelopes, mut bytes) = (Vec::with_capacity(events.len()), 0);
        for event in &events {
            let envelope = Event::Presence(event.clone()).envelope(ambient, cause);
            bytes += envelope.data.len();
            if bytes > MOST_BYTES && !envelopes.is_empty() {
                break;
            }
            envelopes.push(envelope);
        }
        for event in events.drain(envelopes.len()..).rev() {
            self.changed.push_front(subject(&event).0.clone());
        }
        Attempt { events, envelopes }
    }
}

impl Visitor {
    /// Whether this is nobody else, wherever they are.
    fn is_same(&self, other: &Self) -> bool {
        self.user_id == other.user_id && self.session_id == other.session_id
    }
}

impl Said {
    fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Offline => None,
            Self::Online { session, .. } | Self::Unknown { session } => Some(session),
        }
    }
}

impl User {
    fn since(connected_at: Timestamp) -> Self {
        let (is_pending, is_forgotten) = (false, false);
        Self { by_turn: Vec::new(), open: 0, connected_at, said: Said::Offline, is_pending, is_forgotten }
    }
}

/// Whom an event is about, and in which session.
fn subject(event: &PresenceEvent) -> (&UserId, &SessionId) {
    match event {
        PresenceEvent::Online(online) => (&online.user_id, &online.session_id),
        PresenceEvent::Offline(offline) => (&offline.user_id, &offline.session_id),
    }
}
