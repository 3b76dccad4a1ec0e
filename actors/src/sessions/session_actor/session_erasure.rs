//! Erasing a session: an event in its tenant's stream records it, then the session's stream is deleted.
//!
//! The actor does both while it holds its mailbox, so nothing is appended in between on this node. When the store does not delete, the
//! actor gives up after some tries and reports it. Until the stream is deleted no request reads it, and each request
//! tries to delete it again. If the process dies in between, the next start deletes it before the service answers
//! ([`crate::erasure::finish_erasures`]).

use std::time::Duration;

use amoiq_events::{
    Position, RecordedEvent, StreamName, Timestamp, Version,
    event::{Event, EventCause},
    store::{AppendError, ExpectedVersion, ReadDirection, ReadError},
    stream::StreamKind,
    tenant::{SessionErased, TenantEvent},
};

use super::{SessionError, SessionState, SessionWorker};

/// How often it asks the store to delete. A store with a passing failure has recovered by then; one whose rows are damaged
/// never deletes.
const TRIES: u32 = 10;

/// How long it waits when the store does not delete.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The last event of a session whose conversation is closed.
const CLOSED: &str = "conversation.closed";

/// Which session is to be erased: another may have started under the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureCondition {
    /// One that existed when the log ended at this position.
    StartedBy(Position),
    /// One whose conversation was closed before this time.
    ClosedBefore(Timestamp),
}

impl SessionWorker {
    /// Erases the session. Returns the position of the event that records it, or `None` when no session meets the condition.
    /// With `undeleted`, the event at that position recorded it before.
    pub(super) async fn erase(
        &self,
        undeleted: Option<Position>,
        condition: ErasureCondition,
        cause: &EventCause,
    ) -> (Result<Option<Position>, SessionError>, SessionState) {
        let at = match undeleted {
            Some(at) => at,
            None => match self.record(condition, cause).await {
                Ok(Some(at)) => match self.outrun_others(at, cause).await {
                    Ok(at) => at,
                    Err(error) => return (Err(error), SessionState::Unloaded),
                },
                other => return (other, SessionState::Unloaded),
            },
        };
        match self.delete().await {
            Ok(()) => (Ok(Some(at)), SessionState::Unloaded),
            Err(error) => (Err(SessionError::Undeleted(error)), SessionState::Undeleted(at)),
        }
    }

    /// Records the erasure, if the session exists and meets the condition.
    async fn record(
        &self,
        condition: ErasureCondition,
        cause: &EventCause,
    ) -> Result<Option<Position>, SessionError> {
        if self.meets(condition).await? { self.append_erased(cause).await } else { Ok(None) }
    }

    /// Records the erasure again while other nodes append to the session: what they append has to come before, or
    /// whoever follows the log would take it for a new session. Returns where it is recorded last.
    async fn outrun_others(&self, mut at: Position, cause: &EventCause) -> Result<Position, SessionError> {
        for _ in 0..TRIES {
            if !self.store.is_shared() {
                break;
            }
            let newest =
                self.store.read_stream(self.stream.clone(), Version::LAST, ReadDirection::Backward, 1);
            // One that does not read is as old as the damage.
            let is_later = |events: Vec<RecordedEvent>| events.first().is_some_and(|last| last.position > at);
            if !newest.await.is_ok_and(is_later) {
                break;
            }
            at = self.append_erased(cause).await?.unwrap_or(at);
        }
        Ok(at)
    }

    async fn append_erased(&self, cause: &EventCause) -> Result<Option<Position>, SessionError> {
        let Some(StreamKind::Session(tenant, session_id)) = self.stream.kind() else { return Ok(None) };
        let erased = Event::Tenant(TenantEvent::SessionErased(SessionErased { session_id }));
        let erased = vec![erased.envelope(&self.ambient, cause)];
        // A tenant's decisions do not depend on it, so no version is expected.
        let appended = self.store.append(StreamName::tenant(&tenant), ExpectedVersion::Any, erased).await?;
        Ok(Some(appended.position))
    }

    async fn meets(&self, condition: ErasureCondition) -> Result<bool, SessionError> {
        match condition {
            ErasureCondition::StartedBy(end) => {
                let first = Version::from_u64(1);
                match self.store.read_stream(self.stream.clone(), first, ReadDirection::Forward, 1).await {
                    Ok(events) => Ok(events.first().is_some_and(|first| first.position <= end)),
                    // Damage of an event must not keep a visitor's data from being erased.
                    Err(ReadError::EventDamaged { position, .. }) => Ok(position <= end),
                    Err(error) => Err(error.into()),
                }
            }
            ErasureCondition::ClosedBefore(before) => {
                let newest = Version::LAST;
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
                    tracing::warn!(%error, stream = %self.stream, "an erased session is not deleted yet; trying again");
                    tries += 1;
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                ended => return ended,
            }
        }
    }
}
