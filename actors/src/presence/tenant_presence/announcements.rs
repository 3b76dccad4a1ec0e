//! What was announced of each user, and what is to be announced.
//!
//! Changes of a visitor who has written, or who is online according to the log, are announced in the log. Others are
//! signalled. A visitor who writes their first message was signalled already; then they are also announced in the log.
//!
//! After an append with an unknown outcome the status of its users is unknown, and they are announced again. While the
//! difference is the same, the events have the same ids, so the store recognises them. Otherwise the log may say a thing
//! twice, which every fold has to accept.

use amoiq_events::{
    Ambient, Event, NewEvent, SessionId, ShortText, Timestamp, UserId,
    event::EventCause,
    presence::{PresenceEvent, UserOffline, UserOnline},
    store::MAX_APPEND_EVENTS,
};

use super::{TenantPresence, UserPresence, VisitorConnection};
use crate::presence::ConnectedVisitor;

/// The most bytes of one append or signal. Watchers are sent it at once, so it is a small part of what a send queue holds:
/// visitors decide how many they are and how long their addresses are, and must not overflow a watcher's queue.
const MAX_ANNOUNCED_BYTES: usize = 256 * 1024;

/// The bytes of a signal besides its texts.
const FRAME_BYTES: usize = 128;

/// What identifies an entry of the list of online users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnlineEntry {
    session: SessionId,
    since: Timestamp,
    verified: bool,
}

/// A user's status according to the log.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum LoggedPresence {
    Offline,
    Online(OnlineEntry),
    /// One or the other: the outcome of an append is unknown.
    Unknown {
        session: SessionId,
        verified: bool,
    },
}

/// The events of one append.
pub(super) struct PresenceAppend {
    pub(super) events: Vec<PresenceEvent>,
    envelopes: Vec<NewEvent>,
}

/// What is to be announced of a user, and where.
enum DueAnnouncement {
    Log(PresenceEvent),
    Signal(PresenceEvent),
}

impl TenantPresence {
    /// Whether something may have to be appended.
    pub(in crate::presence) fn has_to_log(&self) -> bool {
        !self.to_log.is_empty()
    }

    /// Whether something may have to be signalled.
    pub(in crate::presence) fn has_to_signal(&self) -> bool {
        !self.to_signal.is_empty()
    }

    /// Whether an append is underway.
    pub(in crate::presence) fn is_appending(&self) -> bool {
        self.underway.is_some()
    }

    /// What is to be signalled now, or as much of it as fits in one signal. It counts as announced.
    pub(in crate::presence) fn next_signal(&mut self) -> Vec<PresenceEvent> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < MAX_ANNOUNCED_BYTES
            && events.len() < MAX_APPEND_EVENTS
            && let Some(user_id) = self.to_signal.pop_front()
        {
            match self.due(&user_id) {
                Some(DueAnnouncement::Log(_)) => self.to_log.push_back(user_id),
                Some(DueAnnouncement::Signal(event)) => {
                    bytes += size_bytes(&event);
                    if let Some(user) = self.users.get_mut(&user_id) {
                        user.signalled = entry_of(&event);
                    }
                    events.push(event);
                    self.settle(&user_id);
                }
                None => self.settle(&user_id),
            }
        }
        events
    }

    /// The difference between who is connected and what the log says, or as much of it as fits in one append. The caller
    /// reports the outcome with [`TenantPresence::appended`] or [`TenantPresence::failed`].
    pub(in crate::presence) fn next_append(
        &mut self,
        ambient: &Ambient,
        cause: &EventCause,
        node: Option<&ShortText>,
    ) -> Option<Vec<NewEvent>> {
        assert!(self.underway.is_none(), "one append is underway at a time");
        let failed = self.failed.take();
        // At most as many as failed, or newer changes would make it another append.
        let most = failed.as_ref().map_or(MAX_APPEND_EVENTS, |failed| failed.events.len());
        let mut events = Vec::new();
        while events.len() < most
            && let Some(user_id) = self.to_log.pop_front()
        {
            match self.due(&user_id) {
                Some(DueAnnouncement::Log(event)) => events.push(event),
                Some(DueAnnouncement::Signal(_)) => self.to_signal.push_back(user_id),
                None => self.settle(&user_id),
            }
        }
        if events.is_empty() {
            return None;
        }
        let attempt = match failed {
            Some(failed) if failed.events == events => failed,
            _ => self.put_into_envelopes(events, ambient, cause, node),
        };
        let envelopes = attempt.envelopes.clone();
        self.underway = Some(attempt);
        Some(envelopes)
    }

    /// The append is durable.
    pub(in crate::presence) fn appended(&mut self) {
        let Some(attempt) = self.underway.take() else { return };
        for event in attempt.events {
            let user_id = subject(&event).0.clone();
            if matches!(event, PresenceEvent::Offline(_)) {
                self.restart(&user_id);
            }
            if let Some(user) = self.users.get_mut(&user_id) {
                user.logged = entry_of(&event).map_or(LoggedPresence::Offline, LoggedPresence::Online);
                if user.logged != LoggedPresence::Offline {
                    user.signalled = None;
                }
                user.is_pending = false;
            }
            // They may have connected or left meanwhile.
            self.enqueue(&user_id);
        }
        if self.has_rejoined {
            self.rejoined();
        }
    }

    /// This node was taken for dead and has joined the others again: they said that everybody here is offline. What was
    /// said before counts for nothing, and everybody is announced again.
    pub(in crate::presence) fn rejoined(&mut self) {
        self.failed = None;
        self.has_rejoined = self.underway.is_some();
        let users: Vec<_> = self.users.keys().cloned().collect();
        for user_id in users {
            if let Some(user) = self.users.get_mut(&user_id) {
                user.logged = LoggedPresence::Offline;
            }
            self.enqueue(&user_id);
        }
    }

    /// The append failed, or its outcome is unknown.
    pub(in crate::presence) fn failed(&mut self, may_exist: bool) {
        let Some(attempt) = self.underway.take() else { return };
        for event in attempt.events.iter().rev() {
            let (user_id, session) = subject(event);
            if let Some(user) = self.users.get_mut(user_id)
                && may_exist
            {
                user.logged =
                    LoggedPresence::Unknown { session: session.clone(), verified: is_verified(event) };
            }
            if may_exist && matches!(event, PresenceEvent::Offline(_)) {
                self.restart(user_id);
            }
            self.to_log.push_front(user_id.clone());
        }
        // Under another membership it is another append.
        self.failed = Some(attempt).filter(|_| !std::mem::take(&mut self.has_rejoined));
    }

    /// Puts a user in a queue if there is something to announce. Otherwise a user without connections is removed.
    pub(super) fn enqueue(&mut self, user_id: &UserId) {
        let due = self.due(user_id);
        let Some(user) = self.users.get_mut(user_id).filter(|user| !user.is_pending) else { return };
        user.is_pending = due.is_some();
        match due {
            Some(DueAnnouncement::Log(_)) => self.to_log.push_back(user_id.clone()),
            Some(DueAnnouncement::Signal(_)) => self.to_signal.push_back(user_id.clone()),
            None => self.settle(user_id),
        }
    }

    /// Nothing is left to announce of a user.
    fn settle(&mut self, user_id: &UserId) {
        if let Some(user) = self.users.get_mut(user_id) {
            user.is_pending = false;
            if user.by_order.is_empty() {
                self.users.remove(user_id);
            }
        }
    }

    /// What is to be announced of a user.
    fn due(&self, user_id: &UserId) -> Option<DueAnnouncement> {
        let user = self.users.get(user_id)?;
        match user.by_order.last().and_then(|(_, id)| self.connections.get(id)) {
            Some(newest) => user.due_online(newest),
            None => user.due_offline(user_id),
        }
    }

    /// Events that do not fit are left for the next append: addresses can be long.
    fn put_into_envelopes(
        &mut self,
        mut events: Vec<PresenceEvent>,
        ambient: &Ambient,
        cause: &EventCause,
        node: Option<&ShortText>,
    ) -> PresenceAppend {
        let (mut envelopes, mut bytes) = (Vec::with_capacity(events.len()), 0);
        for event in &events {
            let envelope = Event::Presence(event.clone().on(node)).envelope(ambient, cause);
            bytes += envelope.data.len();
            if bytes > MAX_ANNOUNCED_BYTES && !envelopes.is_empty() {
                break;
            }
            envelopes.push(envelope);
        }
        for event in events.drain(envelopes.len()..).rev() {
            self.to_log.push_front(subject(&event).0.clone());
        }
        PresenceAppend { events, envelopes }
    }
}

impl UserPresence {
    /// Whether they are announced as online.
    pub(super) fn is_announced_online(&self) -> bool {
        matches!(self.logged, LoggedPresence::Online(_)) || self.signalled.is_some()
    }

    /// Whether they are announced as verified.
    pub(super) fn announced_verified(&self) -> Option<bool> {
        match (&self.signalled, &self.logged) {
            (Some(entry), _) | (None, LoggedPresence::Online(entry)) => Some(entry.verified),
            (None, LoggedPresence::Offline | LoggedPresence::Unknown { .. }) => None,
        }
    }

    /// The sessions in which they are announced.
    pub(super) fn announced_sessions(&self) -> impl Iterator<Item = &SessionId> {
        let logged = match &self.logged {
            LoggedPresence::Offline => None,
            LoggedPresence::Online(OnlineEntry { session, .. }) | LoggedPresence::Unknown { session, .. } => {
                Some(session)
            }
        };
        logged.into_iter().chain(self.signalled.as_ref().map(|entry| &entry.session))
    }

    fn due_online(&self, newest: &VisitorConnection) -> Option<DueAnnouncement> {
        let visitor = &newest.visitor;
        let entry = OnlineEntry {
            session: visitor.session_id.clone(),
            since: self.connected_at,
            verified: visitor.verified,
        };
        let is_told = self.signalled.as_ref() == Some(&entry);
        let in_log = visitor.has_written || self.logged != LoggedPresence::Offline;
        match in_log {
            true if self.logged == LoggedPresence::Online(entry) => None,
            true => Some(DueAnnouncement::Log(online(visitor, self.connected_at, is_told))),
            false if is_told => None,
            false => Some(DueAnnouncement::Signal(online(visitor, self.connected_at, false))),
        }
    }

    fn due_offline(&self, user_id: &UserId) -> Option<DueAnnouncement> {
        let offline = |session: &SessionId, verified| {
            let (user_id, session_id) = (user_id.clone(), session.clone());
            PresenceEvent::Offline(UserOffline { user_id, session_id, verified: Some(verified), node: None })
        };
        match (&self.logged, &self.signalled) {
            (
                LoggedPresence::Online(OnlineEntry { session, verified, .. })
                | LoggedPresence::Unknown { session, verified },
                _,
            ) => Some(DueAnnouncement::Log(offline(session, *verified))),
            (LoggedPresence::Offline, Some(entry)) => {
                Some(DueAnnouncement::Signal(offline(&entry.session, entry.verified)))
            }
            (LoggedPresence::Offline, None) => None,
        }
    }
}

fn online(visitor: &ConnectedVisitor, connected_at: Timestamp, is_told: bool) -> PresenceEvent {
    let ConnectedVisitor { user_id, verified, claimed_user_id, session_id, domain, origin, url, .. } =
        visitor.clone();
    let verified = Some(verified);
    PresenceEvent::Online(UserOnline {
        user_id,
        session_id,
        connected_at,
        verified,
        claimed_user_id,
        is_told,
        node: None,
        domain,
        origin,
        url,
    })
}

/// The entry that an event adds; `None` when it removes one.
fn entry_of(event: &PresenceEvent) -> Option<OnlineEntry> {
    let PresenceEvent::Online(UserOnline { session_id, connected_at, .. }) = event else { return None };
    Some(OnlineEntry { session: session_id.clone(), since: *connected_at, verified: is_verified(event) })
}

fn is_verified(event: &PresenceEvent) -> bool {
    match event {
        PresenceEvent::Online(online) => online.verified == Some(true),
        PresenceEvent::Offline(offline) => offline.verified == Some(true),
    }
}

/// Approximately the bytes of an event for a watcher.
fn size_bytes(event: &PresenceEvent) -> usize {
    let (user, session) = subject(event);
    let ids = FRAME_BYTES + user.as_str().len() + session.as_str().len();
    let PresenceEvent::Online(UserOnline { domain, origin, url, .. }) = event else { return ids };
    let texts = [domain, origin, url].into_iter().flatten();
    // A control character takes six bytes in JSON.
    texts.map(|text: &ShortText| 6 * text.as_str().len()).sum::<usize>() + ids
}

/// The user and session of an event.
pub(super) fn subject(event: &PresenceEvent) -> (&UserId, &SessionId) {
    match event {
        PresenceEvent::Online(online) => (&online.user_id, &online.session_id),
        PresenceEvent::Offline(offline) => (&offline.user_id, &offline.session_id),
    }
}
