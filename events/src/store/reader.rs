//! Reads forward page by page: all events, or those of one stream.

use super::{EventLog, MAX_READ_EVENTS, ReadDirection, ReadError};
use crate::{Position, RecordedEvent, StreamName, Version};

/// What a [`LogReader`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ReadSource {
    /// All streams, after a position.
    All(Position),
    /// One stream, from a version on and including it.
    Stream(StreamName, Version),
}

/// Reads forward, page by page, until a page is empty. A page that fails can be read again: the place is kept.
pub struct LogReader<'a> {
    log: &'a dyn EventLog,
    source: ReadSource,
    page_events: usize,
}

impl<'a> LogReader<'a> {
    /// Reads all streams after a position.
    #[must_use]
    pub fn all(log: &'a dyn EventLog, after: Position) -> Self {
        Self { log, source: ReadSource::All(after), page_events: MAX_READ_EVENTS }
    }

    /// Reads one stream from a version on.
    #[must_use]
    pub fn stream(log: &'a dyn EventLog, stream: StreamName, from: Version) -> Self {
        Self { log, source: ReadSource::Stream(stream, from), page_events: MAX_READ_EVENTS }
    }

    /// Reads pages of at most so many events.
    #[must_use]
    pub fn with_page_events(self, page_events: usize) -> Self {
        Self { page_events, ..self }
    }

    /// The next events, at least one; nothing at the end.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next_page(&mut self) -> Result<Option<Vec<RecordedEvent>>, ReadError> {
        let page = match &self.source {
            ReadSource::All(after) => self.log.read_all(*after, self.page_events).await?,
            ReadSource::Stream(stream, from) => {
                let read =
                    self.log.read_stream(stream.clone(), *from, ReadDirection::Forward, self.page_events);
                read.await?
            }
        };
        let Some(last) = page.last() else { return Ok(None) };
        match &mut self.source {
            ReadSource::All(after) => *after = last.position,
            ReadSource::Stream(_, from) => *from = last.version.next(),
        }
        Ok(Some(page))
    }
}
