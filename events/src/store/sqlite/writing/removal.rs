//! Removes events: the start of a stream, or all of it.
//!
//! It works in steps, each with a transaction and a job of its own: appends run in between, and wherever it stops, the rest
//! is whole. Positions are not given out again, so each step records in `floor` how far the log was.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::{
    StreamName, Version,
    store::{
        AppendError, ReadDirection, StoreFuture,
        sqlite::{
            answered, ask,
            files::{row_seal, scrub, write_ahead},
            reading::reader::ReaderPool,
            tables::{
                event_query::{self, EventPlace, StreamRange},
                schema,
                stream_index::StreamHead,
            },
            writing::{
                index_check::IndexState,
                jobs::{RemovalJob, ScrubJob, WriterJob},
                writer::{Answers, StoreWriter, unavailable},
            },
        },
    },
};

/// How many events of a stream a transaction removes.
const REMOVE_STEP: u64 = 1_000;

/// Pages of the index that such a transaction changes: of streams, of marks, of what the store records about itself, and one
/// that leads to them.
const INDEX_PAGES: usize = 4;

/// How often truncating the write-ahead log is tried before a long read is blamed. Each attempt takes up to 200 ms.
const CUT_TRIES: u32 = 15;

/// Removes a stream, or its events before a version. The call itself starts the first step.
pub(in crate::store::sqlite) fn remove(
    jobs: &Sender<WriterJob>,
    stream: StreamName,
    before: Option<Version>,
) -> StoreFuture<Result<(), AppendError>> {
    let jobs = jobs.clone();
    let step = move || {
        let stream = stream.clone();
        ask(&jobs, |reply| WriterJob::Remove(RemovalJob { stream, before, reply }))
    };
    let mut asked = step();
    Box::pin(async move {
        while answered(asked?).await? {
            asked = step();
        }
        Ok(())
    })
}

/// Fills the free parts of the file's pages with zeros, page after page, and truncates the write-ahead log.
pub(in crate::store::sqlite) async fn scrub(
    jobs: Sender<WriterJob>,
    readers: ReaderPool,
) -> Result<(), AppendError> {
    let mut next = Some(scrub::FIRST);
    while let Some(from) = next {
        let looking = readers.run(move |conn| scrub::look(conn, from).map_err(event_query::failed));
        let step = looking.await.map_err(|error| AppendError::Unavailable(error.to_string()))?;
        let pages = step.unclean;
        if !pages.is_empty() {
            answered(ask(&jobs, |reply| WriterJob::Scrub(ScrubJob { pages, reply }))?).await?;
        }
        next = step.next;
    }
    let mut tries = 1;
    loop {
        match answered(ask(&jobs, |reply| WriterJob::Scrub(ScrubJob { pages: Vec::new(), reply }))?).await {
            // Somebody reads. Waiting appends run in between.
            Err(AppendError::Unavailable(_)) if tries < CUT_TRIES => tries += 1,
            cut => return cut,
        }
    }
}

impl StoreWriter {
    pub(in crate::store::sqlite) fn remove(&mut self, RemovalJob { stream, before, reply }: RemovalJob) {
        let mut removed = self.remove_some(&stream, before);
        if removed.as_ref().is_err_and(row_seal::is_damage) && self.index == IndexState::Whole {
            self.doubt_index();
            self.mend_index();
            removed = self.remove_some(&stream, before);
        }
        match &removed {
            // Only this stream is damaged; the store takes writes.
            Err(error) if row_seal::is_damage(error) => self.undo(),
            Err(error) => self.fail(error, &mut Answers::new()),
            Ok(_) => {}
        }
        self.feed.clear();
        drop(reply.send(removed.map_err(|error| unavailable(&error))));
    }

    pub(in crate::store::sqlite) fn scrub(&mut self, ScrubJob { pages, reply }: ScrubJob) {
        let scrubbed = self.scrub_step(&pages);
        self.undo();
        drop(reply.send(match scrubbed {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(AppendError::Unavailable("log.db is being read, by a backup perhaps".to_owned()))
            }
            Err(error) => Err(unavailable(&error)),
        }));
    }

    fn scrub_step(&mut self, pages: &[u32]) -> rusqlite::Result<bool> {
        let write_ahead = Arc::clone(&self.write_ahead);
        let _gate = write_ahead.gate.lock();
        if pages.is_empty() {
            return write_ahead::truncate(&self.conn);
        }
        let changed = pages.len();
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        scrub::clean(&self.conn, pages)?;
        self.conn.execute_batch("COMMIT")?;
        self.write_ahead.changed(changed);
        Ok(true)
    }

    /// Removes the oldest events. Returns whether there are more.
    fn remove_some(&mut self, stream: &StreamName, before: Option<Version>) -> rusqlite::Result<bool> {
        let Some(head) = self.ledger.head(&self.conn, &stream.shared())? else { return Ok(false) };
        let end = head.version.plus(1);
        let target = before.map_or(end, |before| before.min(end));
        let first = head.first.plus(REMOVE_STEP).min(target);
        let whole = before.is_none() && first == end;
        if head.first >= target && !whole {
            return Ok(false);
        }
        let doomed = self.doomed(stream, head, first)?;
        self.remove_step(stream, &doomed, Some(first).filter(|_| !whole))?;
        doomed.iter().for_each(|event| self.recent.forget(event.id, event.position));
        Ok(first < target)
    }

    /// Removes these events, and moves the start of their stream; without a start it removes the stream too.
    fn remove_step(
        &mut self,
        stream: &StreamName,
        doomed: &[EventPlace],
        first: Option<Version>,
    ) -> rusqlite::Result<()> {
        let write_ahead = Arc::clone(&self.write_ahead);
        let _gate = write_ahead.gate.lock();
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut delete = self.conn.prepare_cached("DELETE FROM log WHERE position = ?1")?;
        for event in doomed {
            delete.execute([event.position])?;
        }
        drop(delete);
        match first {
            Some(first) => self.ledger.truncate(&self.conn, &stream.shared(), first)?,
            None => self.ledger.delete(&self.conn, &stream.shared())?,
        }
        schema::set_meta(&self.conn, "floor", self.last.as_u64())?;
        self.ledger.commit_removal(&self.conn)?;
        // At most, each event was on a page of its own.
        self.write_ahead.changed(doomed.len() + INDEX_PAGES);
        Ok(())
    }

    /// The events of a stream below a version.
    fn doomed(
        &self,
        stream: &StreamName,
        head: StreamHead,
        below: Version,
    ) -> rusqlite::Result<Vec<EventPlace>> {
        let count = usize::try_from(below.as_u64() - head.first.as_u64()).unwrap_or(usize::MAX);
        let read = event_query::read_stream(
            &self.conn,
            &self.heads,
            stream,
            StreamRange { from: head.first, direction: ReadDirection::Forward, limit: count },
        );
        match read {
            Ok(events) => Ok(events
                .into_iter()
                .map(|recorded| EventPlace {
                    stream: recorded.stream,
                    id: recorded.event.id,
                    position: recorded.position,
                    version: recorded.version,
                })
                .collect()),
            // Damage must not keep a visitor's data from being erased.
            Err(error) if error.is_damage() => event_query::scan(&self.conn, stream, below),
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error.to_string().into())),
        }
    }
}
