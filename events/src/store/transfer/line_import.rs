//! From lines of JSON to a log that is being filled. Streams, versions and ids stay the same.
//!
//! The last line says how many events there are: an export that failed, or whose end was lost, is refused.

use std::io::{self, BufRead};

use crate::{
    RecordedEvent,
    store::{
        MAX_READ_EVENTS,
        line::{self, ExportEnd},
        transfer::{
            filling::{FillingError, LogFilling},
            work_progress::{ProgressCallback, WorkProgress},
        },
    },
};

/// How many bytes of data are added at once at the most, unless a single event has more.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Whether an end line is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndLinePolicy {
    /// It is: this release writes one.
    IsDemanded,
    /// It is not: older releases wrote none. If there is one, it is checked all the same.
    MayLack,
}

/// Where events are imported from.
pub struct ImportLines<'a> {
    /// The lines, with one event each.
    pub reader: &'a mut dyn BufRead,
    /// How many bytes there are; 0 if unknown.
    pub total_bytes: u64,
    /// Whether an end line is required.
    pub end_line: EndLinePolicy,
}

impl ImportLines<'_> {
    /// Adds the events of all lines.
    ///
    /// # Errors
    /// A [`FillingError`] at the first line that is not right.
    pub fn fill(
        self,
        filling: &mut dyn LogFilling,
        report: ProgressCallback<'_>,
    ) -> Result<(), FillingError> {
        let ImportLines { reader, total_bytes: total, end_line } = self;
        let mut import = LineImport::new(filling);
        let mut text = String::new();
        let mut done = 0;
        while reader.read_line(&mut text).map_err(|error: io::Error| FillingError::of(error))? > 0 {
            done += text.len() as u64;
            import.line += 1;
            import.take(text.trim_end())?;
            text.clear();
            if import.batch.is_empty() {
                report(WorkProgress { what: "bytes read", done, total });
            }
        }
        import.add_batch()?;
        import.is_all(end_line)
    }
}

struct LineImport<'a> {
    filling: &'a mut dyn LogFilling,
    /// What the end line has to contain.
    read: ExportEnd,
    line: u64,
    has_ended: bool,
    /// What was read and not added yet: the events of the last lines.
    batch: Vec<RecordedEvent>,
    batch_bytes: usize,
}

impl<'a> LineImport<'a> {
    fn new(filling: &'a mut dyn LogFilling) -> Self {
        let (batch, read) = (Vec::new(), ExportEnd::default());
        Self { filling, read, line: 0, has_ended: false, batch, batch_bytes: 0 }
    }

    fn take(&mut self, text: &str) -> Result<(), FillingError> {
        let line = self.line;
        let wrong = |what: String| FillingError::Order { line, what };
        if self.has_ended {
            return Err(wrong("it comes after the end line".to_owned()));
        }
        let reason = match line::read(text) {
            Ok(event) => return self.take_event(event),
            Err(reason) => reason,
        };
        // What is wrong with a line before this one is said first.
        self.add_batch()?;
        let said = line::read_end(text).ok_or(FillingError::Line { line, reason })?;
        if said != self.read {
            let (ExportEnd { events, position }, read) = (said, self.read);
            return Err(wrong(format!(
                "{events} events were written, the last at position {position}; {} were read, the last at {}",
                read.events, read.position
            )));
        }
        self.has_ended = true;
        Ok(())
    }

    fn take_event(&mut self, event: RecordedEvent) -> Result<(), FillingError> {
        let last = self.read.position;
        if event.position <= last {
            self.add_batch()?;
            let what = format!("position {} does not follow {last}", event.position);
            return Err(FillingError::Order { line: self.line, what });
        }
        self.read = ExportEnd { events: self.read.events + 1, position: event.position };
        self.batch_bytes += event.event.data.len();
        self.batch.push(event);
        if self.batch.len() >= MAX_READ_EVENTS || self.batch_bytes >= BATCH_BYTES {
            self.add_batch()?;
        }
        Ok(())
    }

    fn add_batch(&mut self) -> Result<(), FillingError> {
        let (events, last) = (std::mem::take(&mut self.batch), self.read.events);
        self.batch_bytes = 0;
        if events.is_empty() {
            return Ok(());
        }
        self.filling.add(&events).map_err(|error| match error {
            // Every line before the end line is an event.
            FillingError::Misfit { index, what } => {
                FillingError::Order { line: last - events.len() as u64 + index as u64 + 1, what }
            }
            error => error,
        })
    }

    fn is_all(&self, end_line: EndLinePolicy) -> Result<(), FillingError> {
        if self.read.events == 0 {
            return Err(FillingError::NoEvent);
        }
        if !self.has_ended && end_line == EndLinePolicy::IsDemanded {
            return Err(FillingError::NoEnd { line: self.line });
        }
        Ok(())
    }
}
