//! Copies a log into one that is being filled, and compares the two afterwards, event by event.

use sha2::{Digest, Sha256};

use crate::{
    Position, RecordedEvent,
    store::{
        EventLog, LogReader, ReadError,
        transfer::{
            filling::{FillingError, LogFilling},
            work_progress::{ProgressCallback, WorkProgress},
        },
    },
};

/// Why a log was not copied.
#[derive(Debug, thiserror::Error)]
pub enum LogCopyError {
    /// The source, or what was written, cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The other log takes no events.
    #[error(transparent)]
    Filling(#[from] FillingError),
    /// The two logs are not the same.
    #[error("after {same} events that are the same, {what}")]
    Difference {
        /// How many events are the same.
        same: u64,
        /// What is not.
        what: String,
    },
}

/// All events of a log: two logs with the same events have the same sum, wherever the events are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSum {
    /// How many events there are.
    pub events: u64,
    /// SHA-256 over streams, versions, ids, types, schemas, times, causations, actors and data, as hexadecimal digits.
    pub checksum: String,
}

/// Adds what the other log lacks of `source` up to `head`.
///
/// # Errors
/// A [`LogCopyError`]. What was added stays.
pub async fn copy_events(
    source: &dyn EventLog,
    head: Position,
    filling: &mut dyn LogFilling,
    report: ProgressCallback<'_>,
) -> Result<(), LogCopyError> {
    let total = source.events_after(filling.reached());
    let mut done = 0;
    let mut events = LogReader::all(source, filling.reached()).up_to(head);
    while let Some(page) = events.next_page().await? {
        done += page.len() as u64;
        filling.add(&page)?;
        report(WorkProgress { what: "events copied", done, total });
    }
    Ok(())
}

/// Compares every event of a log up to `head` with the events of the other: everything but the position has to be the same.
/// `each` gets the two positions of each event.
///
/// # Errors
/// [`LogCopyError::Difference`] when the logs are not the same.
pub async fn compare_logs(
    (source, head): (&dyn EventLog, Position),
    copy: &dyn EventLog,
    report: ProgressCallback<'_>,
    each: &mut dyn FnMut(Position, Position),
) -> Result<LogSum, LogCopyError> {
    let total = source.events_after(Position::START);
    let mut sums = [EventSum::default(), EventSum::default()];
    let mut events = LogReader::all(source, Position::START).up_to(head);
    let mut copied = LogReader::all(copy, Position::START);
    loop {
        let same = sums[0].events;
        let difference = |what: String| Err(LogCopyError::Difference { same, what });
        let (event, copy) = match (events.next_event().await?, copied.next_event().await?) {
            (Some(event), Some(copy)) => (event, copy),
            (None, None) => break,
            (Some(event), None) => {
                return difference(format!("the copy lacks the one at {}", event.position));
            }
            (None, Some(copy)) => return difference(format!("the copy has one more, at {}", copy.position)),
        };
        let is_same =
            (&event.stream, event.version, &event.event) == (&copy.stream, copy.version, &copy.event);
        if !is_same {
            let RecordedEvent { stream, version, .. } = &event;
            return difference(format!("version {version} of {stream} is another event in the copy"));
        }
        for (sum, event) in sums.iter_mut().zip([&event, &copy]) {
            sum.add(event);
        }
        each(event.position, copy.position);
        report(WorkProgress { what: "events compared", done: same + 1, total });
    }
    let [source, copy] = sums.map(EventSum::end);
    if source == copy {
        Ok(source)
    } else {
        let what = format!("the sums are {} and {}", source.checksum, copy.checksum);
        Err(LogCopyError::Difference { same: source.events, what })
    }
}

/// Sums events up.
#[derive(Default)]
struct EventSum {
    events: u64,
    sum: Sha256,
}

impl EventSum {
    fn add(&mut self, recorded: &RecordedEvent) {
        let RecordedEvent { stream, version, event, .. } = recorded;
        self.events += 1;
        let id = event.id.as_uuid();
        let parts: [&[u8]; 9] = [
            stream.as_str().as_bytes(),
            &version.as_u64().to_le_bytes(),
            id.as_bytes(),
            event.kind.as_bytes(),
            &event.schema.to_le_bytes(),
            &event.time.as_millis().to_le_bytes(),
            event.causation.as_bytes(),
            event.actor.as_bytes(),
            &event.data,
        ];
        for part in parts {
            // With their lengths, so that bytes cannot move between parts.
            self.sum.update((part.len() as u64).to_le_bytes());
            self.sum.update(part);
        }
    }

    fn end(self) -> LogSum {
        LogSum { events: self.events, checksum: hex::encode(self.sum.finalize()) }
    }
}
