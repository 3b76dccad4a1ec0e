//! The presence events of a person who is erased.
//!
//! A tenant's presence stream contains the events of all visitors, and an event cannot be removed from the middle of a
//! stream, because versions have no gaps. Nothing needs the start of this stream, so it is truncated up to the last event
//! that names the person. Before that, [`crate::presence`] announces them as offline, so that no later event names them.
//! Who else is online is known in memory and stays known.

use std::collections::HashMap;

use amoiq_events::{
    Event, EventStore, Position, RecordedEvent, SessionId, StreamName, TenantId, UserId, Version, codec,
    presence::PresenceEvent,
    store::{LogReader, ReadDirection},
};

use super::EraseError;

/// How many events are removed at a time.
const STEP_EVENTS: u64 = 1_000;

/// Truncates a tenant's presence up to and including the last event of these sessions or of this user.
pub(super) async fn forget(
    store: &dyn EventStore,
    tenant: &TenantId,
    sessions: &HashMap<SessionId, Position>,
    user: Option<&UserId>,
) -> Result<(), EraseError> {
    let stream = StreamName::presence(tenant);
    let mut events = LogReader::stream_backward(store, stream.clone());
    while let Some(event) = events.next_event().await? {
        if names(&event, sessions, user) {
            return truncate(store, stream, event.version.next()).await;
        }
    }
    Ok(())
}

/// Removes some events at a time, so that appends of others can be stored in between.
async fn truncate(store: &dyn EventStore, stream: StreamName, end: Version) -> Result<(), EraseError> {
    let first = store.read_stream(stream.clone(), Version::FIRST, ReadDirection::Forward, 1).await?;
    let mut start = first.first().map_or(end, |first| first.version);
    while start < end {
        start = start.plus(STEP_EVENTS).min(end);
        store.truncate(stream.clone(), start).await?;
    }
    Ok(())
}

/// Whether an event is about these sessions or this user. One that cannot be read may be.
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
