//! Presence of somebody who is erased.
//!
//! A tenant's presence stream holds everybody's comings and goings, and an event cannot be taken out of the
//! middle of a stream: versions have no gaps. It is a stream that nobody needs the begin of, so it goes up to
//! the last event that names them. Who is online now is known in memory and is not forgotten.

use std::collections::HashMap;

use amoiq_events::{
    Event, EventStore, Position, RecordedEvent, SessionId, StreamName, TenantId, UserId, Version, codec,
    presence::PresenceEvent,
    store::{Direction, MAX_READ_EVENTS},
};

use super::EraseError;

/// Truncates a tenant's presence behind the last event of these sessions, or of this user.
pub(super) async fn forget(
    store: &dyn EventStore,
    tenant: &TenantId,
    sessions: &HashMap<SessionId, Position>,
    user: Option<&UserId>,
) -> Result<(), EraseError> {
    let stream = StreamName::presence(tenant);
    let mut from = Version::from_u64(u64::MAX);
    loop {
        let events = store.read_stream(stream.clone(), from, Direction::Backward, MAX_READ_EVENTS).await?;
        if let Some(last) = events.iter().find(|event| names(event, sessions, user)) {
            store.truncate(stream, last.version.plus(1)).await?;
            return Ok(());
        }
        match events.last().map(|oldest| oldest.version.as_u64()) {
            Some(oldest) if oldest > 1 => from = Version::from_u64(oldest - 1),
            _ => return Ok(()),
        }
    }
}

/// Whether an event is about them. One that does not read may be.
fn names(recorded: &RecordedEvent, sessions: &HashMap<SessionId, Position>, user: Option<&UserId>) -> bool {
    let (session_id, user_id) = match codec::decode(recorded) {
        Ok(Event::Presence(PresenceEvent::Online(online))) => (online.session_id, online.user_id),
        Ok(Event::Presence(PresenceEvent::Offline(offline))) => (offline.session_id, offline.user_id),
        Ok(_) => return false,
        Err(_unreadable) => return true,
    };
    sessions.contains_key(&session_id) || user == Some(&user_id)
}
