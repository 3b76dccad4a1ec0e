//! The thread that writes the log.
//!
//! It takes everything that waits, commits it as one transaction and answers after the sync: while one commit syncs, jobs for
//! the next one gather. There is no artificial delay. If a transaction fails, all of it is answered `Unavailable`, and the
//! thread tries by itself until the store takes writes again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::Connection;
use tokio::sync::watch;

use crate::{
    NewEvent, Position, RecordedEvent, StreamName, Version,
    store::{
        AppendError, AppendReceipt, ExpectedVersion, ReadDirection, StoreHealth, StoreMeter,
        feed::LogFeed,
        sqlite::{
            files::{readable::FileReadability, row_seal},
            tables::{
                event_query::{self, StreamRange},
                index_build, row, schema,
                stream_index::{StreamHead, StreamHeads, StreamIndex},
            },
            writing::{
                checkpoint::WriteAhead,
                index_check::IndexState,
                jobs::{AppendJob, Reply, WriterJob},
                recent_ids::RecentIds,
                witness::HeadWitness,
            },
        },
    },
};

/// The most events of one transaction, so that no commit takes long, and the most appends, since a refused one adds no
/// event.
const MAX_COMMIT_EVENTS: usize = 4_096;

/// The most bytes of data of one transaction, for the same reason; the last append may exceed it.
const MAX_COMMIT_BYTES: usize = 16 * 1024 * 1024;

/// How often a failing store is tried.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The thread's state.
pub(in crate::store::sqlite) struct StoreWriter {
    pub(in crate::store::sqlite) conn: Connection,
    pub(in crate::store::sqlite) heads: Arc<StreamHeads>,
    pub(in crate::store::sqlite) ledger: StreamIndex,
    pub(in crate::store::sqlite) last: Position,
    pub(in crate::store::sqlite) recent: RecentIds,
    pub(in crate::store::sqlite) witness: HeadWitness,
    pub(in crate::store::sqlite) write_ahead: Arc<WriteAhead>,
    pub(in crate::store::sqlite) reading: Arc<FileReadability>,
    pub(in crate::store::sqlite) feed: Arc<LogFeed>,
    pub(in crate::store::sqlite) health: watch::Sender<StoreHealth>,
    pub(in crate::store::sqlite) meter: Arc<StoreMeter>,
    pub(in crate::store::sqlite) opened: Instant,
    pub(in crate::store::sqlite) index: IndexState,
    /// When these are dropped with the writer, the check of the index ends and the checkpointer copies what is left.
    pub(in crate::store::sqlite) _stop_others: Sender<()>,
}

/// Answers that wait for the commit.
pub(in crate::store::sqlite) type Answers = Vec<(Reply<AppendReceipt>, Result<AppendReceipt, AppendError>)>;

impl StoreWriter {
    /// Works until it is told to close, then writes the index.
    pub(in crate::store::sqlite) fn run(mut self, jobs: &Receiver<WriterJob>) {
        let mut waits: Option<WriterJob> = None;
        loop {
            self.mend_index();
            match waits.take().map_or_else(|| jobs.recv_timeout(PROBE_EVERY), Ok) {
                Ok(WriterJob::Append(append)) => {
                    self.begin();
                    waits = self.commit(append, jobs);
                    self.write_ahead.begun_ms.store(0, Ordering::Relaxed);
                }
                Ok(WriterJob::Remove(remove)) => self.remove(remove),
                Ok(WriterJob::Scrub(scrub)) => self.scrub(scrub),
                Ok(WriterJob::MendIndex(reply)) => {
                    self.doubt_index();
                    self.mend_index();
                    drop(reply.send(Ok(())));
                }
                Err(RecvTimeoutError::Timeout) => self.probe(),
                Ok(WriterJob::Close) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.ledger.flush_all(&self.conn, self.last) {
            tracing::warn!(%error, "the index was not written; the next start reads it from the log");
        }
    }

    /// Has the index rebuilt before the next job, unless that was already tried.
    pub(in crate::store::sqlite) fn doubt_index(&mut self) {
        if self.index == IndexState::Whole {
            self.index = IndexState::Damaged;
        }
    }

    /// Rebuilds the index if it is damaged. That reads the whole log, and appends wait.
    pub(in crate::store::sqlite) fn mend_index(&mut self) {
        if self.index != IndexState::Damaged {
            return;
        }
        // What only cannot be read at the moment is not damage: whoever finds it again has it checked again.
        if self.reading.judge().is_some() {
            self.index = IndexState::Whole;
            return;
        }
        self.begin();
        let write_ahead = Arc::clone(&self.write_ahead);
        let gate = write_ahead.gate.lock();
        self.index = match index_build::remake_index(&self.conn) {
            Ok(()) => IndexState::Settled,
            Err(error) => {
                tracing::error!(%error, "the index of the log cannot be rebuilt");
                let may_pass = index_build::may_pass(&error) || self.reading.judge().is_some();
                if may_pass { IndexState::Whole } else { IndexState::Settled }
            }
        };
        drop(gate);
        self.write_ahead.begun_ms.store(0, Ordering::Relaxed);
    }

    /// Records when the transaction begins: a hanging disk shows as one that does not end.
    fn begin(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.write_ahead.begun_ms.store(millis.max(1), Ordering::Relaxed);
    }

    /// Commits an append and all that wait after it. Returns a job that had to wait for that.
    fn commit(&mut self, first: AppendJob, jobs: &Receiver<WriterJob>) -> Option<WriterJob> {
        let write_ahead = Arc::clone(&self.write_ahead);
        let gate = write_ahead.gate.lock();
        let begun = Instant::now();
        let mut answers = Answers::new();
        let mut batch = Vec::new();
        let (result, waits) = match self.conn.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => self.gather(first, jobs, &mut answers, &mut batch),
            Err(error) => {
                answers.push((first.reply, Err(unavailable(&error))));
                (Err(error), None)
            }
        };
        let finished = result.and_then(|()| self.finish(&batch));
        if let Err(error) = finished {
            self.fail(&error, &mut answers)
        } else {
            self.succeed(batch)
        }
        drop(gate);
        self.meter.took(begun.elapsed());
        for (reply, answer) in answers {
            self.meter.answered(&answer);
            // The caller may be gone; what was appended stays.
            drop(reply.send(answer));
        }
        waits
    }

    /// Places the first append and all that wait after it. Any other job ends the transaction.
    fn gather(
        &mut self,
        first: AppendJob,
        jobs: &Receiver<WriterJob>,
        answers: &mut Answers,
        batch: &mut Vec<RecordedEvent>,
    ) -> (rusqlite::Result<()>, Option<WriterJob>) {
        let mut next = Some(first);
        let mut bytes = 0;
        while let Some(append) = next.take() {
            let reply = append.reply;
            bytes += append.events.iter().map(|event| event.data.len()).sum::<usize>();
            match self.place(&append.stream, append.expected, append.events, batch) {
                Ok(answer) => answers.push((reply, answer)),
                Err(error) => {
                    answers.push((reply, Err(unavailable(&error))));
                    return (Err(error), None);
                }
            }
            let most = batch.len().max(answers.len());
            if most < MAX_COMMIT_EVENTS && bytes < MAX_COMMIT_BYTES {
                match jobs.try_recv() {
                    Ok(WriterJob::Append(append)) => next = Some(append),
                    Ok(other) => return (Ok(()), Some(other)),
                    Err(_empty) => {}
                }
            }
        }
        (Ok(()), None)
    }

    /// Checks one append and inserts its events.
    fn place(
        &mut self,
        stream: &StreamName,
        expected: ExpectedVersion,
        events: Vec<NewEvent>,
        batch: &mut Vec<RecordedEvent>,
    ) -> rusqlite::Result<Result<AppendReceipt, AppendError>> {
        let name = stream.shared();
        let known = match self.ledger.head(&self.conn, &name) {
            // One unreadable stream is no reason to refuse the others.
            Err(error) if row_seal::is_damage(&error) => {
                self.doubt_index();
                return Ok(Err(unavailable(&error)));
            }
            known => known?,
        };
        let head = known.unwrap_or(StreamHead { first: Version::from_u64(1), ..StreamHead::default() });
        let actual = head.version;
        let base = match expected {
            ExpectedVersion::Any => None,
            ExpectedVersion::NoStream => Some(Version::NONE),
            ExpectedVersion::Exact(version) => Some(version),
        };
        let fits = base.is_none_or(|version| version == actual);
        let repeated = match base {
            None => self.recent.answer(&name, &events),
            // An earlier append's events end before the end of the stream.
            Some(version) if fits || version.plus(events.len() as u64) > actual => None,
            Some(version) => self.repeated(stream, version, &events, batch)?,
        };
        match repeated {
            Some(first) => Ok(Ok(first)),
            None if !fits => Ok(Err(AppendError::Conflict { expected, actual })),
            None => self.insert(stream, head, events, batch).map(Ok),
        }
    }

    fn insert(
        &mut self,
        stream: &StreamName,
        mut head: StreamHead,
        events: Vec<NewEvent>,
        batch: &mut Vec<RecordedEvent>,
    ) -> rusqlite::Result<AppendReceipt> {
        let name = stream.shared();
        let mut insert = self.conn.prepare_cached(row::INSERT)?;
        for event in events {
            let previous = head.position;
            head.version = head.version.plus(1);
            head.position = Position::from_u64(self.last.as_u64() + 1 + batch.len() as u64);
            let recorded = RecordedEvent {
                position: head.position,
                stream: stream.clone(),
                version: head.version,
                event,
            };
            assert!(previous < head.position, "a link points forward: {stream} at {}", head.position);
            row::insert(&mut insert, &recorded, previous)?;
            self.ledger.advance(&name, head);
            let place = AppendReceipt { version: head.version, position: head.position };
            self.recent.note(&name, recorded.event.id, place);
            batch.push(recorded);
        }
        Ok(AppendReceipt { version: head.version, position: head.position })
    }

    /// The first receipt, if the events after `version` are exactly these.
    fn repeated(
        &self,
        stream: &StreamName,
        version: Version,
        events: &[NewEvent],
        batch: &[RecordedEvent],
    ) -> rusqlite::Result<Option<AppendReceipt>> {
        // A query does not find the events of this transaction.
        let fresh = batch.iter().filter(|known| known.stream == *stream && known.version > version);
        let mut stored = match event_query::read_stream(
            &self.conn,
            &self.heads,
            stream,
            StreamRange { from: version.plus(1), direction: ReadDirection::Forward, limit: events.len() },
        ) {
            Ok(stored) => stored,
            // This caller need not hear of damage: the ids cannot be compared, so it is a conflict.
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(rusqlite::Error::ToSqlConversionFailure(error.to_string().into())),
        };
        stored.extend(fresh.cloned());
        let same = (1..).zip(events).zip(&stored).all(|((number, event), stored)| {
            stored.event.id == event.id && stored.version == version.plus(number)
        });
        let found = stored.get(events.len().saturating_sub(1)).filter(|_| same);
        Ok(found.map(|last| AppendReceipt { version: last.version, position: last.position }))
    }

    fn finish(&mut self, batch: &[RecordedEvent]) -> rusqlite::Result<()> {
        if let Some(event) = batch.last() {
            self.ledger.flush(&self.conn, batch.len(), event.position)?;
        }
        self.conn.execute_batch("COMMIT")
    }

    /// The transaction is durable: tells everyone except the callers.
    fn succeed(&mut self, batch: Vec<RecordedEvent>) {
        self.ledger.committed();
        self.recent.committed();
        self.recover();
        let Some(last) = batch.last().map(|event| event.position) else { return };
        self.last = last;
        self.meter.committed(batch.len());
        if let Err(error) = self.witness.write(last) {
            tracing::warn!(%error, "the witness was not written: a lost end might go unnoticed");
        }
        let bytes: usize = batch.iter().map(|event| event.event.data.len() + 256).sum();
        self.write_ahead.committed(bytes);
        self.feed.publish(batch.into());
    }

    pub(in crate::store::sqlite) fn fail(&mut self, error: &rusqlite::Error, answers: &mut Answers) {
        self.undo();
        let reason = self.reading.reason(error);
        for (_, answer) in answers {
            *answer = Err(AppendError::Unavailable(reason.clone()));
        }
        self.health.send_if_modified(|health| {
            let first = *health == StoreHealth::Writable;
            if first {
                tracing::error!(reason, "the store does not take writes; trying again every second");
            }
            *health = StoreHealth::Failing(reason);
            first
        });
    }

    /// Undoes a transaction that was not committed.
    pub(in crate::store::sqlite) fn undo(&mut self) {
        self.ledger.failed();
        self.recent.failed();
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed transaction could not be rolled back");
        }
    }

    fn recover(&self) {
        self.health.send_if_modified(|health| {
            let failing = *health != StoreHealth::Writable;
            if failing {
                tracing::info!("the store takes writes again");
                *health = StoreHealth::Writable;
            }
            failing
        });
    }

    /// While the store fails, tries a harmless write.
    fn probe(&mut self) {
        if *self.health.borrow() == StoreHealth::Writable {
            return;
        }
        let write_ahead = Arc::clone(&self.write_ahead);
        let _gate = write_ahead.gate.lock();
        let probed = self.conn.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
            schema::set_meta(&self.conn, "probe", self.last.as_u64())?;
            self.conn.execute_batch("COMMIT")
        });
        if let Err(error) = probed { self.fail(&error, &mut Answers::new()) } else { self.recover() }
    }
}

pub(in crate::store::sqlite) fn unavailable(error: &rusqlite::Error) -> AppendError {
    AppendError::Unavailable(row_seal::reason(error))
}
