//! What the log says is erased and still has.
//!
//! Sessions are erased one after the other, and an order does not end before its streams are deleted. So what
//! a stop left is among the last that a tenant's stream says, and no more than those are looked at. Letting go of old
//! sessions goes on past one that the store does not delete: behind so many others that one is not found.

use std::collections::HashMap;

use amoiq_events::{
    Event, EventStore, Position, SessionId, StreamName, TenantId, Version, codec,
    store::{MAX_READ_EVENTS, ReadDirection, ReadError},
    tenant::TenantEvent,
};

use super::EraseError;

/// So many erasures of each tenant are looked at: more than an order has underway.
const LOOK_BACK: usize = 1_024;

/// That a session was erased.
struct SessionErasure {
    tenant: TenantId,
    session: SessionId,
    at: Position,
}

/// Deletes the streams that the log says are erased, and has from before that. To be called before anybody
/// is served. Returns how many there were.
///
/// # Errors
/// When the log does not read or does not write.
pub async fn finish_erasures(store: &dyn EventStore) -> Result<usize, EraseError> {
    let mut count = 0;
    for SessionErasure { tenant, session, at } in newest(store).await? {
        let stream = StreamName::session(&tenant, &session);
        let first = store.read_stream(stream.clone(), Version::FIRST, ReadDirection::Forward, 1).await;
        let begins_at = match first {
            Ok(events) => events.first().map(|event| event.position),
            Err(ReadError::EventDamaged { position, .. }) => Some(position),
            Err(error) => return Err(error.into()),
        };
        if begins_at.is_some_and(|position| position < at) {
            store.delete(stream).await?;
            count += 1;
            tracing::warn!(tenant.id = %tenant, "a session was erased that an interrupted erasure had left");
        }
    }
    Ok(count)
}

/// Where sessions of a tenant ended that were erased not long ago.
pub(super) async fn ends(
    store: &dyn EventStore,
    tenant: &TenantId,
) -> Result<HashMap<SessionId, Position>, EraseError> {
    let mut found = Vec::new();
    newest_of(store, &StreamName::tenant(tenant), &mut found).await?;
    // The newest come first, and the last one that is put in stays.
    Ok(found.into_iter().rev().map(|erasure| (erasure.session, erasure.at)).collect())
}

/// The newest erasures of every tenant.
async fn newest(store: &dyn EventStore) -> Result<Vec<SessionErasure>, EraseError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let names = store.streams(StreamName::TENANTS, after, MAX_READ_EVENTS).await?;
        let Some(last) = names.last() else { return Ok(found) };
        after = Some(last.clone());
        for name in names {
            newest_of(store, &name, &mut found).await?;
        }
    }
}

async fn newest_of(
    store: &dyn EventStore,
    stream: &StreamName,
    found: &mut Vec<SessionErasure>,
) -> Result<(), EraseError> {
    let Some(tenant) = stream.tenant_id() else { return Ok(()) };
    let (mut from, mut count) = (Version::LAST, 0);
    loop {
        let events =
            store.read_stream(stream.clone(), from, ReadDirection::Backward, MAX_READ_EVENTS).await?;
        for recorded in events.iter().filter(|event| event.event.kind == "session.erased") {
            let Ok(Event::Tenant(TenantEvent::SessionErased(erased))) = codec::decode(recorded) else {
                continue;
            };
            let (tenant, session) = (tenant.clone(), erased.session_id);
            found.push(SessionErasure { tenant, session, at: recorded.position });
            count += 1;
        }
        match events.last().and_then(|oldest| oldest.version.previous()) {
            Some(older) if count < LOOK_BACK => from = older,
            _ => return Ok(()),
        }
    }
}
