//! Removing events: from the log at once, and from the server's files with its next scavenge.
//!
//! When everything of a stream is removed, a record without content is appended first, because a scavenge keeps the last
//! record of each stream with its data. It says which version the stream has then, so it removes what is before it: from
//! that moment on everybody passes over it. The stream's metadata then tell the server the same, which removes no stream in
//! its own sense: that would begin its idempotency and its answers anew.

use std::sync::Arc;

use eventstore::{AppendToStreamOptions, StreamMetadata, StreamState};
use tokio::time::{Instant, timeout_at};

use super::appends::LogAppends;
use crate::{
    Ambient, StreamName, Version,
    store::{
        AppendError,
        kurrentdb::{
            connecting::{
                node_call_error::NodeCallError,
                node_connection::NodeConnection,
                timing,
                wire_requests::{StreamPage, StreamWrite},
            },
            following::log_index::StreamPlace,
            records::log_record::{RemovalMarker, WireRecord, encode_marker},
        },
    },
};

/// What is to be removed.
pub(in crate::store::kurrentdb) struct WantedRemoval {
    pub(in crate::store::kurrentdb) stream: StreamName,
    /// The first version that stays; nothing removes the stream.
    pub(in crate::store::kurrentdb) before: Option<Version>,
    pub(in crate::store::kurrentdb) deadline: Instant,
}

impl LogAppends {
    /// Removes events, and answers after this node has followed the log up to that.
    pub(in crate::store::kurrentdb) async fn remove(
        &self,
        wanted: WantedRemoval,
        ambient: &Ambient,
    ) -> Result<(), AppendError> {
        let turn = timeout_at(wanted.deadline, self.turns.take(&wanted.stream)).await;
        let _turn = turn.map_err(|_late| AppendError::Overloaded)?;
        loop {
            let place = self.reads.newest(&wanted.stream).await;
            let place = place.map_err(|error| AppendError::Unavailable(error.to_string()))?;
            let Some(first) = self.first_kept(&wanted, &place, ambient).await? else {
                if Instant::now() < wanted.deadline {
                    continue;
                }
                return Err(AppendError::Unavailable(
                    "the stream moves on faster than it can be read".to_owned(),
                ));
            };
            if first > 0 {
                self.truncate_before(&wanted.stream, first, wanted.deadline).await?;
            }
            return Ok(());
        }
    }

    /// The first revision that is kept; 0 when there is nothing to remove, nothing when the stream has moved on.
    async fn first_kept(
        &self,
        wanted: &WantedRemoval,
        place: &StreamPlace,
        ambient: &Ambient,
    ) -> Result<Option<u64>, AppendError> {
        let version = match wanted.before {
            None => Version::NONE,
            Some(before) if before > place.version => place.version,
            Some(before) if before <= Version::FIRST => return Ok(Some(0)),
            Some(before) => return Ok(Some(place.revision_of(before))),
        };
        // What stands there already says it, or there was never anything.
        if place.next == 0 || (place.is_empty() && place.version == version) {
            return Ok(Some(place.next.saturating_sub(1)));
        }
        let marker = RemovalMarker { version, newest: place.newest };
        let write = StreamWrite {
            name: self.index.names().stream(&wanted.stream),
            next: place.next,
            records: vec![encode_marker(marker, ambient.uuid())],
        };
        match self.writes.write(write, wanted.deadline).await {
            Ok(revision) => Ok(Some(revision)),
            Err(NodeCallError::Moved) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the server that it need not keep what is before a revision, and waits until this node knows it too.
    pub(in crate::store::kurrentdb) async fn truncate_before(
        &self,
        stream: &StreamName,
        first: u64,
        deadline: Instant,
    ) -> Result<(), AppendError> {
        let name = self.index.names().stream(stream);
        let setting = || {
            self.writes.supervisor.call(deadline, |connection| {
                let name = name.clone();
                async move { set_first(&connection, name, first).await }
            })
        };
        let mut set = setting().await;
        // Another node removes from it too.
        while matches!(set, Err(NodeCallError::Moved)) && Instant::now() < deadline {
            set = setting().await;
        }
        set?;
        let is_followed = self.log.reach(stream, |place| place.first >= first, timing::FOLLOW).await;
        if !is_followed {
            tracing::warn!("events were removed, and the log cannot be followed at the moment");
        }
        Ok(())
    }
}

/// Sets the first revision that is kept, unless it is already a later one. The rest of the metadata stays: an operator may
/// have set who may read the stream.
async fn set_first(connection: &Arc<NodeConnection>, name: String, first: u64) -> Result<(), NodeCallError> {
    let known = connection.stream_page(&StreamPage::newest(format!("$${name}"))).await?.pop();
    let (state, metadata) = match known {
        Some(record) => (StreamState::StreamRevision(record.revision), parsed(&name, &record)?),
        None => (StreamState::NoStream, StreamMetadata::default()),
    };
    if metadata.truncate_before.is_some_and(|known| known >= first) {
        return Ok(());
    }
    let metadata = StreamMetadata { truncate_before: Some(first), ..metadata };
    let options =
        AppendToStreamOptions::default().deadline(timing::CALL).requires_leader(true).stream_state(state);
    let (client, credentials) = connection.client();
    let options = match credentials {
        Some(credentials) => options.authenticated(credentials),
        None => options,
    };
    client.set_stream_metadata(name.as_str(), &options, &metadata).await?;
    Ok(())
}

fn parsed(name: &str, record: &WireRecord) -> Result<StreamMetadata, NodeCallError> {
    serde_json::from_slice(&record.data).map_err(|error| {
        NodeCallError::Refused(format!("the metadata of {name} are not understood: {error}"))
    })
}
