//! Deleting a session: first its tenant's stream says so, then the session's stream goes.
//!
//! The actor does both while it holds its mailbox, so nothing is appended in between. When the store does not
//! delete, it gives up after some tries and says so; until the stream is gone it is as good as gone, and whoever
//! asks next has it tried again. What was said and not done when the process died is done by the next start
//! ([`crate::erasure::finish`]), before anybody is served.

use std::time::Duration;

use amoiq_events::{
    Position, StreamName, Timestamp, Version,
    event::{Event, EventCause},
    store::{AppendError, ExpectedVersion, ReadDirection, ReadError},
    stream::StreamKind,
    tenant::{SessionErased, TenantEvent},
};

use super::{SessionError, SessionState, SessionWorker};

/// How often it asks the store to delete. A store that is short of something has it again by then; one whose
/// rows are damaged never deletes.
const TRIES: u32 = 10;

/// How long it waits when the store does not delete.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The last event of a session whose conversation is closed.
const CLOSED: &str = "conversation.closed";

/// Which session is to be erased: another may have begun under the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureCondition {
    /// One that was there when the log ended at this position.
    BegunBy(Position),
    /// One whose conversation was closed before this time.
    ClosedBefore(Timestamp),
}

impl SessionWorker {
    /// Erases the session and tells the position of the event that says so; nothing when none is there that
    /// is meant. With `condemned` it was said before, there.
    pub(super) async fn erase(
        &self,
        condemned: Option<Position>,
        meant: ErasureCondition,
        cause: &EventCause,
    ) -> (Result<Option<Position>, SessionError>, SessionState) {
        let at = match condemned {
            Some(at) => at,
            None => match self.condemn(meant, cause).await {
                Ok(Some(at)) => at,
                other => return (other, SessionState::Nothing),
            },
        };
        match self.delete().await {
            Ok(()) => (Ok(Some(at)), SessionState::Nothing),
            Err(error) => (Err(SessionError::Undeleted(error)), SessionState::Condemned(at)),
        }
    }

    /// Says that the session is erased, when it is there and meant.
    async fn condemn(
        &self,
        meant: ErasureCondition,
        cause: &EventCause,
    ) -> Result<Option<Position>, SessionError> {
        if !self.is_there(meant).await? {
            return Ok(None);
        }
        let Some(StreamKind::Session(tenant, session_id)) = self.stream.kind() else { return Ok(None) };
        let said = Event::Tenant(TenantEvent::SessionErased(SessionErased { session_id }));
        let said = vec![said.envelope(&self.ambient, cause)];
        // What a tenant decides does not depend on it, so no version is expected.
        let said = self.store.append(StreamName::tenant(&tenant), ExpectedVersion::Any, said).await?;
        Ok(Some(said.position))
    }

    async fn is_there(&self, meant: ErasureCondition) -> Result<bool, SessionError> {
        match meant {
            ErasureCondition::BegunBy(end) => {
                let first = Version::from_u64(1);
                match self.store.read_stream(self.stream.clone(), first, ReadDirection::Forward, 1).await {
                    Ok(events) => Ok(events.first().is_some_and(|first| first.position <= end)),
                    // Damage must not keep a visitor's data from being erased. That of no event does not say where.
                    Err(ReadError::Corrupt { position, .. }) if position > Position::START => {
                        Ok(position <= end)
                    }
                    Err(error) => Err(error.into()),
                }
            }
            ErasureCondition::ClosedBefore(before) => {
                let newest = Version::from_u64(u64::MAX);
                let read = self.store.read_stream(self.stream.clone(), newest, ReadDirection::Backward, 1);
                let last = read.await?.into_iter().next();
                Ok(last.is_some_and(|last| last.event.kind == CLOSED && last.event.time < before))
            }
        }
    }

    async fn delete(&self) -> Result<(), AppendError> {
        let mut tries = 1;
        loop {
            match self.store.delete(self.stream.clone()).await {
                Err(error) if tries < TRIES => {
                    tracing::warn!(%error, stream = %self.stream, "an erased session is still there; trying again");
                    tries += 1;
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                ended => return ended,
            }
        }
    }
}
