//! What was said of each user, and what is to be said.
//!
//! Of a visitor who has written, and of whomever the log says to be online, the log says what changes. Of everybody
//! else it is signalled. A visitor who writes their first message is signalled already; then the log says it too.
//!
//! An append whose end is unknown leaves its users unknown, and they are said to be online or offline
//! again. As long as the difference is the same it goes under the same ids, so the store recognises it;
//! else the log may say a thing twice, which every fold of it has to bear.

use amoiq_events::{
    Ambient, Event, NewEvent, SessionId, ShortText, Timestamp, UserId,
    event::EventCause,
    presence::{PresenceEvent, UserOffline, UserOnline},
    store::MAX_APPEND_EVENTS,
};

use super::{TenantPresence, UserPresence, VisitorConnection};
use crate::presence::ConnectedVisitor;

/// How much one append or signal says. Whoever watches is sent it at once, so it is a small part of what may wait for
/// them: visitors decide how many they are and how long their addresses, and must not make a reader a slow one.
const MOST_BYTES: usize = 256 * 1024;

/// What a signal takes beside its texts.
const FRAME_BYTES: usize = 128;

/// An entry in the list of those online, as far as it tells one from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnlineEntry {
    session: SessionId,
    since: Timestamp,
    verified: bool,
}

/// What the log says of a user.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum LoggedPresence {
    Offline,
    Online(OnlineEntry),
    /// One or the other: an append did not say how it ended.
    Unknown {
        session: SessionId,
        verified: bool,
    },
}

/// Events of one append.
pub(super) struct PresenceAppend {
    pub(super) events: Vec<PresenceEvent>,
    envelopes: Vec<NewEvent>,
}

/// What is to be said of a user, and where.
enum DueAnnouncement {
    Log(PresenceEvent),
    Signal(PresenceEvent),
}

impl TenantPresence {
    /// Whether the log may have to say something.
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

    /// What is to be signalled now, or as much of it as one signal takes. It counts as said.
    pub(in crate::presence) fn next_signal(&mut self) -> Vec<PresenceEvent> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < MOST_BYTES
            && events.len() < MAX_APPEND_EVENTS
            && let Some(user_id) = self.to_signal.pop_front()
        {
            match self.due(&user_id) {
                Some(DueAnnouncement::Log(_)) => self.to_log.push_back(user_id),
                Some(DueAnnouncement::Signal(event)) => {
                    bytes += size_bytes(&event);
                    if let Some(user) = self.users.get_mut(&user_id) {
                        user.signalled = line_of(&event);
                    }
                    events.push(event);
                    self.settle(&user_id);
                }
                None => self.settle(&user_id),
            }
        }
        events
    }

    /// The difference between who is connected and what the log says, or as much of it as one append
    /// takes. Its end is told by [`TenantPresence::appended`] or [`TenantPresence::failed`].
    pub(in crate::presence) fn next_append(
        &mut self,
        ambient: &Ambient,
        cause: &EventCause,
    ) -> Option<Vec<NewEvent>> {
        assert!(self.underway.is_none(), "one append is underway at a time");
        let failed = self.failed.take();
        // No more than what failed, or what came after it would make it another append.
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
            _ => self.put_into_envelopes(events, ambient, cause),
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
                self.begin_anew(&user_id);
            }
            if let Some(user) = self.users.get_mut(&user_id) {
                user.logged = line_of(&event).map_or(LoggedPresence::Offline, LoggedPresence::Online);
                if user.logged != LoggedPresence::Offline {
                    user.signalled = None;
                }
                user.is_pending = false;
            }
            // They may have come or gone meanwhile.
            self.look_at(&user_id);
        }
    }

    /// The append did not succeed, or the store cannot say.
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
                self.begin_anew(user_id);
            }
            self.to_log.push_front(user_id.clone());
        }
        self.failed = Some(attempt);
    }

    /// Puts a user in a queue when there is something to say of them, and forgets one of whom there is nothing left.
    pub(super) fn look_at(&mut self, user_id: &UserId) {
        let due = self.due(user_id);
        let Some(user) = self.users.get_mut(user_id).filter(|user| !user.is_pending) else { return };
        user.is_pending = due.is_some();
        match due {
            Some(DueAnnouncement::Log(_)) => self.to_log.push_back(user_id.clone()),
            Some(DueAnnouncement::Signal(_)) => self.to_signal.push_back(user_id.clone()),
            None => self.settle(user_id),
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
    fn due(&self, user_id: &UserId) -> Option<DueAnnouncement> {
        let user = self.users.get(user_id)?;
        match user.by_turn.last().and_then(|(_, id)| self.connections.get(id)) {
            Some(newest) => user.due_online(newest),
            None => user.due_offline(user_id),
        }
    }

    /// What is more than one append may hold is left for the next: addresses can be long.
    fn put_into_envelopes(
        &mut self,
        mut events: Vec<PresenceEvent>,
        ambient: &Ambient,
        cause: &EventCause,
    ) -> PresenceAppend {
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
            self.to_log.push_front(subject(&event).0.clone());
        }
        PresenceAppend { events, envelopes }
    }
}

impl UserPresence {
    /// Whether they were said to be online, and not taken back.
    pub(super) fn is_said_online(&self) -> bool {
        matches!(self.logged, LoggedPresence::Online(_)) || self.signalled.is_some()
    }

    /// Whether it was said that a secret key vouched for them.
    pub(super) fn said_verified(&self) -> Option<bool> {
        match (&self.signalled, &self.logged) {
            (Some(line), _) | (None, LoggedPresence::Online(line)) => Some(line.verified),
            (None, LoggedPresence::Offline | LoggedPresence::Unknown { .. }) => None,
        }
    }

    /// The sessions that they are said to be in.
    pub(super) fn said_sessions(&self) -> impl Iterator<Item = &SessionId> {
        let logged = match &self.logged {
            LoggedPresence::Offline => None,
            LoggedPresence::Online(OnlineEntry { session, .. }) | LoggedPresence::Unknown { session, .. } => {
                Some(session)
            }
        };
        logged.into_iter().chain(self.signalled.as_ref().map(|line| &line.session))
    }

    fn due_online(&self, newest: &VisitorConnection) -> Option<DueAnnouncement> {
        let visitor = &newest.visitor;
        let line = OnlineEntry {
            session: visitor.session_id.clone(),
            since: self.connected_at,
            verified: visitor.verified,
        };
        let is_told = self.signalled.as_ref() == Some(&line);
        let in_log = visitor.has_written || self.logged != LoggedPresence::Offline;
        match in_log {
            true if self.logged == LoggedPresence::Online(line) => None,
            true => Some(DueAnnouncement::Log(online(visitor, self.connected_at, is_told))),
            false if is_told => None,
            false => Some(DueAnnouncement::Signal(online(visitor, self.connected_at, false))),
        }
    }

    fn due_offline(&self, user_id: &UserId) -> Option<DueAnnouncement> {
        let offline = |session: &SessionId, verified| {
            let (user_id, session_id) = (user_id.clone(), session.clone());
            PresenceEvent::Offline(UserOffline { user_id, session_id, verified: Some(verified) })
        };
        match (&self.logged, &self.signalled) {
            (
                LoggedPresence::Online(OnlineEntry { session, verified, .. })
                | LoggedPresence::Unknown { session, verified },
                _,
            ) => Some(DueAnnouncement::Log(offline(session, *verified))),
            (LoggedPresence::Offline, Some(line)) => {
                Some(DueAnnouncement::Signal(offline(&line.session, line.verified)))
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
        domain,
        origin,
        url,
    })
}

/// The entry that an event makes; nothing when it ends one.
fn line_of(event: &PresenceEvent) -> Option<OnlineEntry> {
    let PresenceEvent::Online(UserOnline { session_id, connected_at, .. }) = event else { return None };
    Some(OnlineEntry { session: session_id.clone(), since: *connected_at, verified: is_verified(event) })
}

fn is_verified(event: &PresenceEvent) -> bool {
    match event {
        PresenceEvent::Online(online) => online.verified == Some(true),
        PresenceEvent::Offline(offline) => offline.verified == Some(true),
    }
}

/// About what an event takes where it is told.
fn size_bytes(event: &PresenceEvent) -> usize {
    let (user, session) = subject(event);
    let ids = FRAME_BYTES + user.as_str().len() + session.as_str().len();
    let PresenceEvent::Online(UserOnline { domain, origin, url, .. }) = event else { return ids };
    let texts = [domain, origin, url].into_iter().flatten();
    // In JSON a control character takes six bytes.
    texts.map(|text: &ShortText| 6 * text.as_str().len()).sum::<usize>() + ids
}

/// Whom an event is about, and in which session.
pub(super) fn subject(event: &PresenceEvent) -> (&UserId, &SessionId) {
    match event {
        PresenceEvent::Online(online) => (&online.user_id, &online.session_id),
        PresenceEvent::Offline(offline) => (&offline.user_id, &offline.session_id),
    }
}
