//! The stream that says which history a log is, and whether a node has the history that is known.

use uuid::Uuid;

use super::{
    known_history::KnownHistory, node_call_error::NodeCallError, node_connection::NodeConnection,
    wire_requests::StreamPage,
};
use crate::store::{
    Epoch, ReadDirection,
    kurrentdb::records::log_record::{FillingMark, decode_epoch},
};

/// A history: its name, and the first record of the log.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::kurrentdb) struct LogStart {
    pub(in crate::store::kurrentdb) epoch: Epoch,
    pub(in crate::store::kurrentdb) position: u64,
    pub(in crate::store::kurrentdb) id: Uuid,
    /// Of the newest record that names it.
    pub(in crate::store::kurrentdb) revision: u64,
    /// In a log that is not complete.
    pub(in crate::store::kurrentdb) filling: Option<FillingMark>,
}

/// Which history a log is; nothing when there is no log.
pub(in crate::store::kurrentdb) async fn start(
    connection: &NodeConnection,
) -> Result<Option<LogStart>, NodeCallError> {
    let name = connection.names().epoch();
    let first = StreamPage { name: name.clone(), from: Some(0), direction: ReadDirection::Forward, count: 1 };
    let Some(first) = connection.stream_page(&first).await?.pop() else { return Ok(None) };
    let newest = connection.stream_page(&StreamPage::newest(name)).await?.pop();
    let named = newest.and_then(|newest| Some((newest.revision, decode_epoch(&newest)?)));
    let unknown = || NodeCallError::Refused("the log does not say which history it is".to_owned());
    let (revision, named) = named.ok_or_else(unknown)?;
    let (epoch, filling) = (named.epoch(), named.mark());
    Ok(Some(LogStart { epoch, position: first.position, id: first.id, revision, filling }))
}

/// Whether a node has what this one knows to be in the log.
pub(in crate::store::kurrentdb) async fn check(
    connection: &NodeConnection,
    known: &KnownHistory,
) -> Result<(), NodeCallError> {
    let other = |reason: &str| Err(NodeCallError::OtherHistory(reason.to_owned()));
    match start(connection).await? {
        None => return other("it is empty"),
        Some(start) if start.epoch != known.epoch() => return other("it has another epoch"),
        Some(_) => {}
    }
    let (position, id) = known.newest();
    match connection.page(position, 1).await {
        Ok(records) if records.first().is_some_and(|first| (first.position, first.id) == (position, id)) => {
            Ok(())
        }
        Ok(_) | Err(NodeCallError::Refused(_)) => other("it lacks an event that this node knows"),
        Err(error) => Err(error),
    }
}
