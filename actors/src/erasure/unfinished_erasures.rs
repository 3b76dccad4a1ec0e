//! Sessions that the log records as erased and still contains.
//!
//! Sessions are erased one after the other, and an order does not end before its streams are deleted. So what a stop left
//! is among the newest events of a tenant's stream, and only those are searched. Retention continues past a session that
//! the store does not delete; after many more erasures that session is not found here.

use std::collections::HashMap;

use amoiq_events::{
    Event, EventLog, EventStore, Position, SessionId, StreamName, TenantId, Version, codec,
    store::{LogReader, MAX_READ_EVENTS, ReadDirection, ReadError},
    tenant::TenantEvent,
};

use super::EraseError;

/// How many erasures of each tenant are searched: more than one order has underway.
const SEARCHED_ERASURES: usize = 1_024;

/// A recorded erasure.
struct SessionErasure {
    tenant: TenantId,
    session: SessionId,
    at: Position,
}

/// Deletes the streams of sessions that the log records as erased, unless they started later. To be called before the
/// service answers requests. Returns how many were deleted.
///
/// # Errors
/// When the log cannot be read or written.
pub async fn finish_erasures(store: &dyn EventStore) -> Result<usize, EraseError> {
    let mut count = 0;
    for SessionErasure { tenant, session, at } in newest(store).await? {
        let stream = StreamName::session(&tenant, &session);
        let first = store.read_stream(stream.clone(), Version::FIRST, ReadDirection::Forward, 1).await;
        let starts_at = match first {
            Ok(events) => events.first().map(|event| event.position),
            Err(ReadError::EventDamaged { position, .. }) => Some(position),
            Err(error) => return Err(error.into()),
        };
        if starts_at.is_some_and(|position| position < at) {
            store.delete(stream).await?;
            count += 1;
            tracing::warn!(tenant.id = %tenant, "a session was deleted that an interrupted erasure had left");
        }
    }
    Ok(count)
}

/// The positions at which recently erased sessions of a tenant ended.
pub(super) async fn ends(
    log: &dyn EventLog,
    tenant: &TenantId,
) -> Result<HashMap<SessionId, Position>, EraseError> {
    let mut found = Vec::new();
    newest_of(log, &StreamName::tenant(tenant), &mut found).await?;
    // Found newest first; reversed, the newest of a session is inserted last and stays.
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
    log: &dyn EventLog,
    stream: &StreamName,
    found: &mut Vec<SessionErasure>,
) -> Result<(), EraseError> {
    let Some(tenant) = stream.tenant_id() else { return Ok(()) };
    let (mut pages, mut count) = (LogReader::stream_backward(log, stream.clone()), 0);
    while count < SEARCHED_ERASURES
        && let Some(events) = pages.next_page().await?
    {
        for recorded in events.iter().filter(|event| event.event.kind == "session.erased") {
            let Ok(Event::Tenant(TenantEvent::SessionErased(erased))) = codec::decode(recorded) else {
                continue;
            };
            let (tenant, session) = (tenant.clone(), erased.session_id);
            found.push(SessionErasure { tenant, session, at: recorded.position });
            count += 1;
        }
    }
    Ok(())
}
