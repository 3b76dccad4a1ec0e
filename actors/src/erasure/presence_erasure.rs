//! Presence of somebody who is erased.
//!
//! A tenant's presence stream holds everybody's comings and goings, and an event cannot be taken out of the
//! middle of a stream: versions have no gaps. It is a stream that nobody needs the begin of, so it goes up to
//! the last event that names them. Before that [`crate::presence`] says that they are offline, so that nothing
//! names them afterwards. Who else is online now is known in memory and is not forgotten.

use std::collections::HashMap;

use amoiq_events::{
    Event, EventStore, Position, RecordedEvent, SessionId, StreamName, TenantId, UserId, Version, codec,
    presence::PresenceEvent,
    store::{MAX_READ_EVENTS, ReadDirection},
};

use super::EraseError;

/// How many events go at a time.
const STEP: u64 = 1_000;

/// Truncates a tenant's presence behind the last event of these sessions, or of this user.
pub(super) async fn forget(
    store: &dyn EventStore,
    tenant: &TenantId,
    sessions: &HashMap<SessionId, Position>,
    user: Option<&UserId>,
) -> Result<(), EraseError> {
    let stream = StreamName::presence(tenant);
    let mut from = Version::LAST;
    loop {
        let events =
            store.read_stream(stream.clone(), from, ReadDirection::Backward, MAX_READ_EVENTS).await?;
        if let Some(last) = events.iter().find(|event| names(event, sessions, user)) {
            return truncate(store, stream, last.version.next()).await;
        }
        match events.last().and_then(|oldest| oldest.version.previous()) {
            Some(older) => from = older,
            None => return Ok(()),
        }
    }
}

/// Some events at a time: each time is one in the log's queue, and appends of others come between.
async fn truncate(store: &dyn EventStore, stream: StreamName, end: Version) -> Result<(), EraseError> {
    let first = store.read_stream(stream.clone(), Version::FIRST, ReadDirection::Forward, 1).await?;
    let mut begin = first.first().map_or(end, |first| first.version);
    while begin < end {
        begin = begin.plus(STEP).min(end);
        store.truncate(stream.clone(), begin).await?;
    }
    Ok(())
}

/// Whether an event is about them. One that does not read may be.
fn names(recorded: &RecordedEvent, sessions: &HashMap<SessionId, Position>, user: Option<&UserId>) -> bool {
    let (session_id, user_id, claimed) = match codec::decode(recorded) {
        Ok(Event::Presence(PresenceEvent::Online(online))) => {
            (online.session_id, online.user_id, online.claimed_user_id)
        }
        Ok(Event::Presence(PresenceEvent::Offline(offline))) => (offline.session_id, offline.user_id, None),
        Ok(_) => return false,
        Err(_unreadable) => return true,
    };
    let is_user = || user == Some(&user_id) || (user.is_some() && user == claimed.as_ref());
    sessions.contains_key(&session_id) || is_user()
}
