//! A log in KurrentDB that is filled with the events of another one. Versions and ids stay the same; positions are the
//! database's own.
//!
//! A mark in the record that names the history keeps services from opening it until it is complete. Each record says which
//! position its event had, so that an interrupted filling from the same log goes on where it was; any other starts anew.
//!
//! The events of different streams are written one after the other, because their order in the log has to stay.

use std::{collections::HashMap, future::Future, sync::Arc};

use tokio::time::Instant;
use uuid::Uuid;

use super::{
    KurrentStore, MAX_APPEND_BYTES,
    connecting::{
        log_start::{self, LogStart},
        node_call_error::NodeCallError,
        open_error::KurrentOpenError,
        supervisor::ConnectionSupervisor,
        timing,
        wire_requests::StreamWrite,
    },
    following::{log_index::StreamPlace, shared_index::SharedIndex},
    opening::{self, FoundLog, KurrentOptions, OpeningPurpose},
    records::log_record::{EpochRecord, FillingMark, encode_epoch, encode_filled, origin},
    writing::stream_writes::StreamWrites,
};
use crate::{
    Ambient, Position, RecordedEvent, StreamName, Version,
    database_thread::DatabaseThread,
    store::{
        Epoch, EventStore, LogMaintenance, MAX_READ_EVENTS, ReadError,
        transfer::{
            filling::{FillingError, LogFilling},
            work_progress::ProgressCallback,
        },
    },
};

/// The most events of one stream that are written at once.
const GROUP: usize = 500;

impl From<KurrentOpenError> for FillingError {
    fn from(error: KurrentOpenError) -> Self {
        Self::of(error)
    }
}

impl From<ReadError> for FillingError {
    fn from(error: ReadError) -> Self {
        Self::of(error)
    }
}

impl From<NodeCallError> for FillingError {
    fn from(error: NodeCallError) -> Self {
        match error {
            NodeCallError::Moved => Self::of("another `amoiq migrate` fills the log now"),
            error => Self::of(error),
        }
    }
}

/// A log that is being filled.
pub struct KurrentFilling {
    options: KurrentOptions,
    ambient: Ambient,
    thread: DatabaseThread,
    supervisor: Arc<ConnectionSupervisor>,
    /// What was there at the start of this filling.
    index: Arc<SharedIndex>,
    /// Where the streams are that were written to since.
    places: HashMap<StreamName, StreamPlace>,
    reached: Position,
    epoch: Epoch,
}

impl KurrentFilling {
    /// Starts to fill a log that does not exist, or goes on with what an interrupted filling from the same source left.
    ///
    /// # Errors
    /// When there is such a log, or the database refuses.
    pub fn begin(
        options: &KurrentOptions,
        ambient: &Ambient,
        source: Option<Epoch>,
    ) -> Result<Self, FillingError> {
        opening::choose_encryption();
        let thread = DatabaseThread::start("store-kurrentdb").map_err(FillingError::of)?;
        let supervisor = opening::connect(options)?;
        let start = find(&thread, &supervisor)?;
        let mark = FillingMark { source: source.map(|source| source.0) };
        let epoch = match start {
            Some(LogStart { filling: None, .. }) => {
                let log = &options.log;
                return Err(FillingError::of(format!(
                    "there is a log `{log}` already: name another in store.schema, nothing is overwritten"
                )));
            }
            Some(LogStart { filling: Some(found), epoch, .. }) if source.is_some() && found == mark => epoch,
            found => {
                if found.is_some() {
                    remove_all(options, ambient)?;
                }
                let epoch = Epoch(u64::from_le_bytes(ambient.bytes()));
                write_epoch(&thread, &supervisor, EpochRecord::filling(epoch, mark), ambient.uuid())?;
                epoch
            }
        };
        let opened = FoundLog::open(thread.clone(), options.clone(), OpeningPurpose::Fill, ambient.uuid());
        let FoundLog { supervisor, index, reads, .. } = wait_for(&thread, opened)?;
        let newest = index.lock().head();
        let reached = wait_for(&thread, async move {
            // What an earlier filling left was removed.
            match reads.at(newest).await? {
                Some(_) => {
                    Ok::<_, ReadError>(reads.page(newest, 1).await?.pop().and_then(|newest| origin(&newest)))
                }
                None => Ok(None),
            }
        })?;
        let reached = reached.unwrap_or(Position::START);
        let (options, ambient) = (options.clone(), ambient.clone());
        Ok(Self { options, ambient, thread, supervisor, index, places: HashMap::new(), reached, epoch })
    }

    /// Groups events for writing, and tells where their streams are then.
    fn plan(&self, events: &[RecordedEvent]) -> Result<FillingPlan, FillingError> {
        let mut plan = FillingPlan::default();
        for (index, event) in events.iter().enumerate() {
            let RecordedEvent { stream, version, position, event: stored } = event;
            let misfit = |what: String| Err(FillingError::Misfit { index, what });
            let known = plan.places.get(stream).or_else(|| self.places.get(stream)).copied();
            let place = known.unwrap_or_else(|| self.index.lock().place(stream));
            let is_next = place.version == Version::NONE || *version == place.version.next();
            if *version == Version::NONE || !is_next {
                return misfit(format!("version {version} of {stream} follows {}", place.version));
            }
            if stored.data.len() > MAX_APPEND_BYTES {
                return misfit(format!(
                    "the event at {position} of {stream} has {} bytes, and the database takes {MAX_APPEND_BYTES}",
                    stored.data.len()
                ));
            }
            plan.add(self.index.names().stream(stream), place.next, event);
            let place = StreamPlace { next: place.next + 1, version: *version, ..place };
            plan.places.insert(stream.clone(), place);
        }
        Ok(plan)
    }
}

/// What is to be written.
#[derive(Default)]
struct FillingPlan {
    writes: Vec<StreamWrite>,
    /// How many bytes the last of them has.
    bytes: usize,
    places: HashMap<StreamName, StreamPlace>,
}

impl FillingPlan {
    /// Adds the next event, to those before it if they are of the same stream.
    fn add(&mut self, name: String, next: u64, event: &RecordedEvent) {
        let record = encode_filled(event);
        self.bytes += event.event.data.len();
        let fits = |last: &&mut StreamWrite| last.name == name && last.records.len() < GROUP;
        match self.writes.last_mut().filter(fits).filter(|_| self.bytes <= MAX_APPEND_BYTES) {
            Some(last) => last.records.push(record),
            None => {
                self.bytes = event.event.data.len();
                self.writes.push(StreamWrite { name, next, records: vec![record] });
            }
        }
    }
}

impl LogFilling for KurrentFilling {
    fn reached(&self) -> Position {
        self.reached
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn add(&mut self, events: &[RecordedEvent]) -> Result<(), FillingError> {
        let Some(last) = events.last().map(|event| event.position) else { return Ok(()) };
        let FillingPlan { writes, places, .. } = self.plan(events)?;
        let to_log = stream_writes(&self.supervisor);
        wait_for(&self.thread, async move {
            for write in writes {
                to_log.write(write, Instant::now() + timing::APPEND).await?;
            }
            Ok::<_, NodeCallError>(())
        })?;
        self.places.extend(places);
        self.reached = last;
        Ok(())
    }

    fn reader(&mut self) -> Result<Arc<dyn EventStore>, FillingError> {
        Ok(Arc::new(KurrentStore::open_with(&self.options, &self.ambient, OpeningPurpose::Fill)?))
    }

    fn finish(self: Box<Self>, _report: ProgressCallback<'_>) -> Result<(), FillingError> {
        write_epoch(&self.thread, &self.supervisor, EpochRecord::complete(self.epoch), self.ambient.uuid())
    }

    fn discard(self: Box<Self>) -> Result<(), FillingError> {
        // Whatever fills the log next starts anew, also when this is interrupted.
        let mark = FillingMark { source: None };
        let record = EpochRecord::filling(self.epoch, mark);
        write_epoch(&self.thread, &self.supervisor, record, self.ambient.uuid())?;
        remove_all(&self.options, &self.ambient)
    }
}

/// Runs a task on the thread and waits for it.
fn wait_for<T: Send + 'static, E: Send + 'static>(
    thread: &DatabaseThread,
    task: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, FillingError>
where
    FillingError: From<E>,
{
    let answered = thread.wait_for(task, timing::OPEN);
    Ok(answered.ok_or_else(|| FillingError::of("the database does not answer"))??)
}

fn stream_writes(supervisor: &Arc<ConnectionSupervisor>) -> StreamWrites {
    StreamWrites { supervisor: Arc::clone(supervisor), condition: Arc::default(), meter: Arc::default() }
}

fn find(
    thread: &DatabaseThread,
    supervisor: &Arc<ConnectionSupervisor>,
) -> Result<Option<LogStart>, FillingError> {
    let supervisor = Arc::clone(supervisor);
    wait_for(thread, async move {
        let deadline = Instant::now() + timing::APPEND;
        supervisor.call(deadline, |connection| async move { log_start::start(&connection).await }).await
    })
}

/// Adds a record to the stream that names the history.
fn write_epoch(
    thread: &DatabaseThread,
    supervisor: &Arc<ConnectionSupervisor>,
    record: EpochRecord,
    id: Uuid,
) -> Result<(), FillingError> {
    let next = find(thread, supervisor)?.map_or(0, |start| start.revision + 1);
    let name = supervisor.access().names.epoch();
    let write = StreamWrite { name, next, records: vec![encode_epoch(record, id)] };
    let to_log = stream_writes(supervisor);
    wait_for(thread, async move { to_log.write(write, Instant::now() + timing::APPEND).await })?;
    Ok(())
}

/// Removes every event of a log that is not complete.
fn remove_all(options: &KurrentOptions, ambient: &Ambient) -> Result<(), FillingError> {
    let store = Arc::new(KurrentStore::open_with(options, ambient, OpeningPurpose::Fill)?);
    let thread = store.thread.clone();
    wait_for(&thread, async move {
        let mut after = None;
        loop {
            let names = store.streams("", after.take(), MAX_READ_EVENTS).await.map_err(FillingError::of)?;
            after = names.last().cloned();
            if after.is_none() {
                return Ok::<_, FillingError>(());
            }
            for name in names {
                store.delete(name).await.map_err(FillingError::of)?;
            }
        }
    })
}
