//! Every event of a log that is not in files, one after the other, up to where the log ends at the start.
//!
//! The log is read page by page, and streams may be truncated meanwhile: then a stream goes on at a later version than the one
//! that was read last. Such a stream starts at the later version, see [`TruncatedStreams`].

use std::collections::HashMap;

use crate::{
    Position, RecordedEvent, StreamName, Version,
    store::{
        EventStore, LogReader, ReadError,
        transfer::work_progress::{ProgressCallback, WorkProgress},
    },
};

/// Streams whose start was removed while they were read, each with the version at which it starts now. What was read of them
/// before must be left out.
#[derive(Debug, Default)]
pub struct TruncatedStreams(HashMap<StreamName, Version>);

impl TruncatedStreams {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an event was before the start of its stream at the end.
    #[must_use]
    pub fn has_removed(&self, event: &RecordedEvent) -> bool {
        self.0.get(&event.stream).is_some_and(|start| event.version < *start)
    }
}

/// Passes every event to `each`. Memory grows with the number of streams.
///
/// # Errors
/// When the log cannot be read, and every error of `each`.
pub async fn export_log<E: From<ReadError>>(
    log: &dyn EventStore,
    report: ProgressCallback<'_>,
    each: &mut dyn FnMut(&RecordedEvent) -> Result<(), E>,
) -> Result<TruncatedStreams, E> {
    let (total, mut done) = (log.events_after(Position::START), 0);
    let mut versions: HashMap<StreamName, Version> = HashMap::new();
    let mut truncated = TruncatedStreams::default();
    let mut events = LogReader::all(log, Position::START).up_to(log.head());
    while let Some(event) = events.next_event().await? {
        let RecordedEvent { stream, version, .. } = &event;
        if versions.insert(stream.clone(), *version).is_some_and(|before| before.plus(1) != *version) {
            truncated.0.insert(stream.clone(), *version);
        }
        each(&event)?;
        done += 1;
        report(WorkProgress { what: "events", done, total });
    }
    Ok(truncated)
}
