//! Reads messages from the log for lanes.

use std::sync::Arc;

use amoiq_events::{
    EventLog, Position, RecordedEvent, TenantId,
    codec::{self, CodecError},
    event::Event,
    session::SessionEvent,
    store::ReadError,
    stream::StreamKind,
};

use super::{fair_semaphore::FairSemaphore, sender::LoggedMessage};

/// How many lanes of different tenants read the log at the same time: others use the store's readers too.
const READERS: usize = 2;

/// How many events one read takes.
const EVENTS_PER_READ: usize = 1_000;

/// Reads messages from the log.
pub(super) struct MessageReader {
    log: Arc<dyn EventLog>,
    readers: FairSemaphore<TenantId>,
}

impl MessageReader {
    pub(super) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, readers: FairSemaphore::new(READERS, 1) }
    }

    /// The events after a position. One lane of a tenant reads at a time.
    pub(super) async fn read(
        &self,
        tenant: &TenantId,
        after: Position,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let _permit = self.readers.acquire(tenant).await;
        self.log.read_all(after, EVENTS_PER_READ).await
    }

    /// The message at a position; `None` when it was erased.
    pub(super) async fn message_at(
        &self,
        tenant: &TenantId,
        position: Position,
    ) -> Result<Option<Arc<LoggedMessage>>, MessageReadError> {
        let Some(event) = self.log.event_at(position).await? else { return Ok(None) };
        Ok(decode_message(&event)?.filter(|message| message.tenant == *tenant))
    }
}

/// Why the message of a delivery cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageReadError {
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A newer release wrote the event.
    #[error(transparent)]
    Newer(#[from] CodecError),
}

/// The message that an event announces to endpoints; `None` when endpoints are not told about this event.
///
/// # Errors
/// When a newer release wrote the event: only that release knows what endpoints are told. An event that no
/// release can read is skipped.
pub(super) fn decode_message(recorded: &RecordedEvent) -> Result<Option<Arc<LoggedMessage>>, CodecError> {
    if recorded.event.kind != "message.created" {
        return Ok(None);
    }
    let Some(StreamKind::Session(tenant, session)) = recorded.stream.kind() else { return Ok(None) };
    match codec::decode(recorded) {
        Ok(Event::Session(SessionEvent::MessageCreated(message))) => Ok(Some(Arc::new(LoggedMessage {
            event_id: recorded.event.id,
            position: recorded.position,
            time: recorded.event.time,
            tenant,
            session,
            message,
        }))),
        Ok(_) => Ok(None),
        Err(error @ CodecError::UnknownSchema { .. }) => Err(error),
        Err(error) => {
            tracing::error!(position = %recorded.position, %error, "an event cannot be read and is not delivered");
            Ok(None)
        }
    }
}
