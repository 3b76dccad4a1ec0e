//! Removing events: the begin of a stream, or all of it.
//!
//! It goes in steps, each a transaction: whenever it stops, what is left is whole. Positions are not
//! given out again, so each step notes in `floor` how far the log had come.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use super::{
    heads::Head,
    query::{self, Placed},
    schema,
    scrub::{self, Page},
    writer::{Answers, Writer, unavailable},
};
use crate::{
    StreamName, Version,
    store::{AppendError, Direction, ReadError},
};

/// How many events of a stream a transaction removes.
const REMOVE_STEP: u64 = 1_000;

/// A removal that waits.
pub(super) struct Remove {
    pub(super) stream: StreamName,
    /// The first version that stays; nothing removes the stream.
    pub(super) before: Option<Version>,
    pub(super) reply: oneshot::Sender<Result<(), AppendError>>,
}

/// Pages to be filled with zeros where nothing is; none when only the write-ahead log is to be cut.
pub(super) struct Scrub {
    pub(super) pages: Vec<Page>,
    pub(super) reply: oneshot::Sender<Result<(), AppendError>>,
}

impl Writer {
    pub(super) fn remove(&mut self, remove: Remove) {
        let result = self.remove_steps(&remove.stream, remove.before);
        if let Err(error) = &result {
            self.fail(error, &mut Answers::new());
        }
        self.feed.clear();
        drop(remove.reply.send(result.map_err(|error| unavailable(&error))));
    }

    pub(super) fn scrub(&mut self, Scrub { pages, reply }: Scrub) {
        let scrubbed = self.scrub_step(pages);
        let is_open = !self.conn.is_autocommit();
        if is_open && let Err(error) = self.conn.execute_batch("ROLLBACK") {
            tracing::error!(%error, "a failed transaction could not be rolled back");
        }
        drop(reply.send(match scrubbed {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(AppendError::Unavailable("log.db is being read, by a backup perhaps".to_owned()))
            }
            Err(error) => Err(unavailable(&error)),
        }));
    }

    fn scrub_step(&mut self, pages: Vec<Page>) -> rusqlite::Result<bool> {
        let write_ahead = Arc::clone(&self.write_ahead);
        let _gate = write_ahead.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.is_empty() {
            return scrub::truncate_log(&self.conn);
        }
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        scrub::clean(&self.conn, pages)?;
        self.conn.execute_batch("COMMIT").map(|()| true)
    }

    fn remove_steps(&mut self, stream: &StreamName, before: Option<Version>) -> rusqlite::Result<()> {
        while let Some(head) = self.ledger.head(&self.conn, &stream.shared())? {
            let end = head.version.plus(1);
            let target = before.map_or(end, |before| before.min(end));
            let first = head.first.plus(REMOVE_STEP).min(target);
            let whole = before.is_none() && first == end;
            if head.first >= target && !whole {
                return Ok(());
            }
            let doomed = self.doomed(stream, head, first)?;
            self.remove_step(stream, &doomed, Some(first).filter(|_| !whole))?;
            doomed.iter().for_each(|event| self.recent.forget(event.id, event.position));
        }
        Ok(())
    }

    /// Removes these events, and moves the begin of their stream; without a begin the stream goes too.
    fn remove_step(
        &mut self,
        stream: &StreamName,
        doomed: &[Placed],
        first: Option<Version>,
    ) -> rusqlite::Result<()> {
        let write_ahead = Arc::clone(&self.write_ahead);
        let _gate = write_ahead.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut delete = self.conn.prepare_cached("DELETE FROM log WHERE position = ?1")?;
        for event in doomed {
            delete.execute([event.position.as_u64().cast_signed()])?;
        }
        drop(delete);
        match first {
            Some(first) => self.ledger.truncate(&self.conn, &stream.shared(), first)?,
            None => self.ledger.delete(&self.conn, &stream.shared())?,
        }
        schema::set_meta(&self.conn, "floor", self.last.as_u64())?;
        self.ledger.commit_removal(&self.conn)
    }

    /// The events of a stream below a version.
    fn doomed(&self, stream: &StreamName, head: Head, below: Version) -> rusqlite::Result<Vec<Placed>> {
        let count = usize::try_from(below.as_u64() - head.first.as_u64()).unwrap_or(usize::MAX);
        let read = query::read_stream(&self.conn, &self.heads, stream, head.first, Direction::Forward, count);
        match read {
            Ok(events) => Ok(events
                .into_iter()
                .map(|recorded| Placed {
                    stream: recorded.stream,
                    id: recorded.event.id,
                    position: recorded.position,
                    version: recorded.version,
                })
                .collect()),
            // Damage must not keep a visitor's data from being erased.
            Err(ReadError::Corrupt { .. }) => query::scan(&self.conn, stream, below),
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error.to_string().into())),
        }
    }
}
