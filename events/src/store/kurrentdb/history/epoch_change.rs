//! A log that lacks what this node knew goes on as another history, with a new epoch. Whoever derived anything from the old one
//! starts anew, and goes back to the last position that both have in common, as far as this node's file tells.

use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use super::{known_log::KnownLog, log_epochs::LogEpochs};
use crate::{
    EventId, Position,
    store::{
        Epoch, ReadDirection,
        kurrentdb::{
            connecting::{
                log_start::{self, LogStart},
                node_call_error::NodeCallError,
                supervisor::ConnectionSupervisor,
                timing,
                wire_requests::{StreamPage, StreamWrite},
            },
            records::log_record::{EpochRecord, LostHistory, decode_epoch, encode_epoch},
            writing::stream_writes::StreamWrites,
        },
    },
};

/// How many epochs are read: each is a loss, or a move into the log.
const MOST_EPOCHS: usize = 1_000;

/// Reads the epochs of a log.
pub(in crate::store::kurrentdb) async fn epochs(
    supervisor: &Arc<ConnectionSupervisor>,
) -> Result<LogEpochs, NodeCallError> {
    let name = supervisor.access().names.epoch();
    let page = StreamPage { name, from: Some(0), direction: ReadDirection::Forward, count: MOST_EPOCHS };
    let reading = supervisor.call(Instant::now() + timing::READ, move |connection| {
        let page = page.clone();
        async move { connection.stream_page(&page).await }
    });
    Ok(LogEpochs::new(reading.await?.iter().filter_map(decode_epoch).collect()))
}

/// Begins an epoch if the log lacks the newest record that this node knew. Returns how the log starts then.
pub(in crate::store::kurrentdb) async fn settle(
    supervisor: &Arc<ConnectionSupervisor>,
    start: LogStart,
    kept: &KnownLog,
    (new, id): (Epoch, Uuid),
) -> Result<LogStart, NodeCallError> {
    let Some(newest) = kept.records.newest() else { return Ok(start) };
    if has(supervisor, newest).await? {
        return Ok(start);
    }
    if Epoch(kept.epoch) != start.epoch && epochs(supervisor).await?.has_replaced(Epoch(kept.epoch)) {
        return Ok(start);
    }
    let mut common = Position::START;
    for known in kept.records.newest_first() {
        if has(supervisor, known).await? {
            common = known.0;
            break;
        }
    }
    let record = EpochRecord::after_loss(new, LostHistory { epoch: kept.epoch, common });
    let write = StreamWrite {
        name: supervisor.access().names.epoch(),
        next: start.revision + 1,
        records: vec![encode_epoch(record, id)],
    };
    let writes =
        StreamWrites { supervisor: Arc::clone(supervisor), condition: Arc::default(), meter: Arc::default() };
    match writes.write(write, Instant::now() + timing::APPEND).await {
        // Another node has begun one.
        Ok(_) | Err(NodeCallError::Moved) => {}
        Err(error) => return Err(error),
    }
    tracing::error!(
        from = %Epoch(kept.epoch), to = %new,
        "the log lost acknowledged events or was restored: it goes on in another epoch"
    );
    let finding = supervisor.call(Instant::now() + timing::APPEND, |connection| async move {
        log_start::start(&connection).await
    });
    Ok(finding.await?.unwrap_or(start))
}

/// Whether a record is in the log, or was until a scavenge.
async fn has(
    supervisor: &Arc<ConnectionSupervisor>,
    (position, id): (Position, EventId),
) -> Result<bool, NodeCallError> {
    let from = position.as_u64();
    let reading = supervisor
        .call(Instant::now() + timing::READ, move |connection| async move { connection.page(from, 1).await });
    match reading.await {
        // Beyond the end there is nothing; what a scavenge took has later records behind it.
        Ok(records) => Ok(records.first().is_some_and(|first| {
            first.position > from || (first.position == from && first.id == id.as_uuid())
        })),
        // What the server says of a place where no record begins.
        Err(NodeCallError::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
