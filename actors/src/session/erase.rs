//! Deleting a session: first its tenant's stream says so, then the session's stream goes.
//!
//! The actor does both while it holds its mailbox, so nothing is appended in between. What was said and not
//! done when the process died is done by the next start ([`crate::erasure::finish`]), before anybody is served.

use std::time::Duration;

use amoiq_events::{
    Position, StreamName, Timestamp, Version,
    event::{Cause, Event},
    store::{Direction, Expected, ReadError},
    stream::StreamKind,
    tenant::{SessionErased, TenantEvent},
};

use super::{Desk, SessionError};

/// How long it waits when the store does not delete.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The last event of a session whose conversation is closed.
const CLOSED: &str = "conversation.closed";

impl Desk {
    /// Erases the session and tells the position of the event that says so; nothing when there is no session,
    /// or when it is to be one that was closed before a time, and was not.
    pub(super) async fn erase(
        &self,
        closed_before: Option<Timestamp>,
        cause: &Cause,
    ) -> Result<Option<Position>, SessionError> {
        let newest = Version::from_u64(u64::MAX);
        let last = match self.store.read_stream(self.stream.clone(), newest, Direction::Backward, 1).await {
            Ok(events) if events.is_empty() => return Ok(None),
            Ok(events) => events.into_iter().next(),
            Err(ReadError::Corrupt { .. }) if closed_before.is_none() => None,
            Err(error) => return Err(error.into()),
        };
        if let (Some(before), Some(last)) = (closed_before, last)
            && (last.event.kind != CLOSED || last.event.time >= before)
        {
            return Ok(None);
        }
        let Some(StreamKind::Session(tenant, session_id)) = self.stream.kind() else { return Ok(None) };
        let said = Event::Tenant(TenantEvent::SessionErased(SessionErased { session_id }));
        let said = vec![said.envelope(&self.ambient, cause)];
        // What a tenant decides does not depend on it, so no version is expected.
        let said = self.store.append(StreamName::tenant(&tenant), Expected::Any, said).await?;
        while let Err(error) = self.store.delete(self.stream.clone()).await {
            tracing::error!(%error, tenant.id = %tenant, "an erased session is still there; trying again");
            tokio::time::sleep(RETRY_AFTER).await;
        }
        Ok(Some(said.position))
    }
}
