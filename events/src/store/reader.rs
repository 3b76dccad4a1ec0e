//! Reads page by page, or event by event: all streams, or one stream in either direction.

use super::{EventLog, MAX_READ_EVENTS, ReadDirection, ReadError};
use crate::{Position, RecordedEvent, StreamName, Version};

/// How far a [`LogReader`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ReadPlace {
    /// All streams were read up to a position.
    All(Position),
    /// A stream is read from a version on and including it; nothing of it is left without one.
    Stream(StreamName, ReadDirection, Option<Version>),
}

/// Reads until nothing is left. A read that fails can be tried again: the place is kept. A reader that goes forward finds
/// what is appended after it reached the end.
pub struct LogReader<'a> {
    log: &'a dyn EventLog,
    place: ReadPlace,
    upto: Position,
    page_events: usize,
    reads_pairs: bool,
    /// What was read and not given yet.
    page: std::vec::IntoIter<RecordedEvent>,
}

impl<'a> LogReader<'a> {
    /// Reads all streams after a position.
    #[must_use]
    pub fn all(log: &'a dyn EventLog, after: Position) -> Self {
        Self::at(log, ReadPlace::All(after))
    }

    /// Reads one stream from a version on.
    #[must_use]
    pub fn stream(log: &'a dyn EventLog, stream: StreamName, from: Version) -> Self {
        Self::at(log, ReadPlace::Stream(stream, ReadDirection::Forward, Some(from)))
    }

    /// Reads one stream from its newest event back to its first.
    #[must_use]
    pub fn stream_backward(log: &'a dyn EventLog, stream: StreamName) -> Self {
        Self::at(log, ReadPlace::Stream(stream, ReadDirection::Backward, Some(Version::LAST)))
    }

    fn at(log: &'a dyn EventLog, place: ReadPlace) -> Self {
        let page = Vec::new().into_iter();
        Self { log, place, upto: Position::END, page_events: MAX_READ_EVENTS, reads_pairs: false, page }
    }

    /// Returns only events up to a position and including it.
    #[must_use]
    pub fn up_to(self, upto: Position) -> Self {
        Self { upto, ..self }
    }

    /// Limits the number of events on a page.
    #[must_use]
    pub fn with_page_events(self, page_events: usize) -> Self {
        Self { page_events, ..self }
    }

    /// Reads two pages of all streams at the same time and gives them as one, where positions have hardly any gaps: in a log
    /// that one process writes.
    #[must_use]
    pub fn in_pairs(self) -> Self {
        let reads_pairs = !self.log.is_shared();
        Self { reads_pairs, ..self }
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next_event(&mut self) -> Result<Option<RecordedEvent>, ReadError> {
        if self.page.len() == 0 {
            let Some(page) = self.next_page().await? else { return Ok(None) };
            self.page = page.into_iter();
        }
        Ok(self.page.next())
    }

    /// The next events, at least one; `None` at the end.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next_page(&mut self) -> Result<Option<Vec<RecordedEvent>>, ReadError> {
        let mut page: Vec<RecordedEvent> = std::mem::take(&mut self.page).collect();
        while page.is_empty() {
            page = self.read().await?;
            let Some(last) = page.last() else { return Ok(None) };
            self.place.pass(last, self.upto);
            page.retain(|event| event.position <= self.upto);
        }
        Ok(Some(page))
    }

    async fn read(&self) -> Result<Vec<RecordedEvent>, ReadError> {
        match &self.place {
            ReadPlace::All(after) if *after < self.upto && self.reads_pairs => self.read_pair(*after).await,
            ReadPlace::All(after) if *after < self.upto => self.log.read_all(*after, self.page_events).await,
            ReadPlace::Stream(stream, direction, Some(from)) => {
                self.log.read_stream(stream.clone(), *from, *direction, self.page_events).await
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn read_pair(&self, after: Position) -> Result<Vec<RecordedEvent>, ReadError> {
        let middle = Position::from_u64(after.as_u64() + self.page_events as u64);
        let first = self.log.read_all(after, self.page_events);
        let (first, second) = tokio::join!(first, self.log.read_all(middle, self.page_events));
        let mut events = first?;
        let reached = events.last().map(|event| event.position);
        // A first page that ends before the second begins ends the log: what the second has is newer.
        if reached >= Some(middle)
            && let Ok(second) = second
        {
            events.retain(|event| event.position <= middle);
            events.extend(second);
        }
        Ok(events)
    }
}

impl ReadPlace {
    /// Goes on after the last event of a page.
    fn pass(&mut self, last: &RecordedEvent, upto: Position) {
        match self {
            Self::All(after) => *after = last.position,
            Self::Stream(_, ReadDirection::Forward, from) => {
                *from = (last.position < upto).then(|| last.version.next());
            }
            Self::Stream(_, ReadDirection::Backward, from) => *from = last.version.previous(),
        }
    }
}
