//! Makes a projection again from the whole log: into tables of a new generation, beside those that serve.
//!
//! Reading and folding go on at the same time, on two threads. The changes stay in memory until there
//! are many, and are then written in the order of their keys, in portions: each is a transaction of its
//! own in the writer's queue, so that the live projection waits for one portion at the most. Nobody
//! sees the new tables before the swap, which folds in what the live projection is ahead, in portions, and
//! then changes which generation serves, in one transaction. Whoever drops the work half-way leaves the old
//! tables as they are; what was filled goes with the next rebuild or start.
//!
//! An event that cannot be read stops it, unless it may skip: then the event is passed by, and is on the
//! list of dead letters before the new tables serve. A fold writes tables and nothing else, so nothing is
//! sent to anybody.

use std::{marker::PhantomData, sync::Arc};

use amoiq_events::{EventStore, Position, RecordedEvent, Timestamp, store::MAX_READ_EVENTS};
use rusqlite::Connection;
use tokio::sync::watch;

use crate::{
    database::DatabaseError,
    projections::{
        dead_letters::{DeadLetter, MAX_LETTERS, SkippedEvents},
        projection::{Projection, ViewTables, fold},
        view_error::ViewError,
        view_generation::{self, ViewGeneration},
        view_store::ViewStore,
    },
};

pub(crate) use rebuild_handle::{RebuildCommand, RebuildReporter};
pub use rebuild_handle::{RebuildHandle, RebuildOutcome, RebuildReport, RebuildUnderway};

mod rebuild_handle;

/// So many changes are held before they are written: sessions, with some 500 bytes each.
const MAX_HELD: usize = 65_536;

/// So many of them are one transaction: some ten milliseconds.
const PORTION: usize = 2_048;

/// So many reads of the log are folded at a time,
const READS: usize = 16;

/// or fewer, once they have so many bytes of data: two such batches are in memory.
const READ_BYTES: usize = 8 * 1024 * 1024;

/// Why a projection was not made again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// An event cannot be read.
    #[error("it stopped at position {position} (`{kind}`): {reason}")]
    Event {
        /// Where.
        position: Position,
        /// The dotted type.
        kind: String,
        /// Why.
        reason: String,
    },
    /// So many events cannot be read that something else is wrong.
    #[error("more than {MAX_LETTERS} events cannot be read: the log is a newer release's")]
    TooMany,
    /// The database or the log refuses.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Tables that hold the log up to a position, and do not serve yet.
pub(crate) struct FilledGeneration<P> {
    generation: ViewGeneration,
    skipped: Vec<DeadLetter>,
    projection: PhantomData<fn() -> P>,
}

/// Makes a projection again while nobody else has the database: fills new tables and lets them serve.
///
/// # Errors
/// A [`RebuildError`]; the old tables are as they were then.
pub async fn rebuild<P: Projection>(
    views: &ViewStore,
    store: &Arc<dyn EventStore>,
    skip: Option<Timestamp>,
    report: &watch::Sender<RebuildReport>,
) -> Result<(), RebuildError> {
    let filled = fill::<P>(views.clone(), Arc::clone(store), skip, report.clone()).await?;
    filled.swap(views, store).await?;
    sweep::<P>(views).await?;
    Ok(())
}

/// Drops the tables that do not serve, in portions.
pub(crate) async fn sweep<P: Projection>(views: &ViewStore) -> Result<(), ViewError> {
    while views.write(|transaction| view_generation::sweep::<P>(transaction)).await? {}
    Ok(())
}

/// Fills tables of a new generation with the whole log. With a time to note, events that cannot be read
/// are skipped.
pub(crate) async fn fill<P: Projection>(
    views: ViewStore,
    store: Arc<dyn EventStore>,
    skip: Option<Timestamp>,
    report: watch::Sender<RebuildReport>,
) -> Result<FilledGeneration<P>, RebuildError> {
    let epoch = store.epoch();
    sweep::<P>(&views).await?;
    let mut generation =
        views.write(move |transaction| ViewGeneration::create::<P>(transaction, epoch)).await?;
    let (reading, tables) = (views.clone(), generation.tables);
    let mut folding = beside(move || Ok(RebuildFold::<P>::new(&reading, tables, skip)?)).await?;
    loop {
        let mut batch = read(&*store, generation.position).await?;
        // Short means that the rest is for the swap.
        let is_near = batch.len() < MAX_READ_EVENTS;
        while let Some(last) = batch.last().map(|event| event.position) {
            let work = beside(move || folding.fold(&batch).map(|full| (folding, full)));
            let (worked, next) = tokio::join!(work, read(&*store, last));
            let (done, full) = worked?;
            folding = done;
            write(&views, generation.tables, full).await?;
            generation.position = last;
            report.send_modify(|report| report.advance(last, store.head(), folding.skipped.len()));
            batch = next?;
        }
        let rest = std::mem::take(&mut folding.changes);
        let portions = beside(move || Ok(rest.portions(PORTION))).await?;
        write(&views, generation.tables, portions).await?;
        if is_near {
            return Ok(FilledGeneration { generation, skipped: folding.skipped, projection: PhantomData });
        }
    }
}

impl<P: Projection> FilledGeneration<P> {
    /// Lets the tables serve, and says where they are. The live projection must stand still meanwhile.
    pub(crate) async fn swap(
        self,
        views: &ViewStore,
        store: &Arc<dyn EventStore>,
    ) -> Result<Position, ViewError> {
        let (letters, skipped) = (views.letters().clone(), self.skipped);
        let noted = tokio::task::spawn_blocking(move || letters.note(skipped)).await;
        noted.map_err(|_panicked| DatabaseError::Closed)??;
        // A change, so that it comes behind whatever the live projection has underway.
        let serving = views.write(|transaction| ViewGeneration::serving(transaction, P::NAME)).await?;
        let mut filled = self.generation;
        let end = serving.filter(|serving| serving.epoch == filled.epoch).map(|serving| serving.position);
        while end.is_some_and(|end| filled.position < end) {
            let ahead = store.read_all(filled.position, MAX_READ_EVENTS).await?;
            // What stood up to there may have been deleted.
            filled.position = ahead.last().map_or(end.unwrap_or_default(), |event| event.position);
            let (tables, passed) = (filled.tables, views.letters().of(P::NAME));
            let portion = views.write(move |transaction| {
                let mut changes = P::default();
                fold(&mut changes, transaction, tables, &ahead, &passed)?;
                changes.store(transaction, tables)
            });
            portion.await?;
        }
        let swap = views.write(move |transaction| filled.serve::<P>(transaction));
        swap.await?;
        Ok(filled.position)
    }
}

/// What folds, on a thread of its own.
struct RebuildFold<P> {
    conn: Connection,
    tables: ViewTables,
    changes: P,
    passed: SkippedEvents,
    skip: Option<Timestamp>,
    skipped: Vec<DeadLetter>,
    /// How many letters may still be noted.
    room: usize,
}

impl<P: Projection> RebuildFold<P> {
    fn new(views: &ViewStore, tables: ViewTables, skip: Option<Timestamp>) -> Result<Self, ViewError> {
        let passed = views.letters().of(P::NAME);
        let room = MAX_LETTERS.saturating_sub(views.letters().all().len());
        let conn = views.reader()?;
        Ok(Self { conn, tables, changes: P::default(), passed, skip, skipped: Vec::new(), room })
    }

    /// Folds events in. Gives the changes that are to be written now.
    fn fold(&mut self, events: &[RecordedEvent]) -> Result<Vec<P>, RebuildError> {
        let Self { conn, tables, changes, passed, skip, skipped, room } = self;
        // One moment for all that is read: each question by itself would lock the file.
        let moment = conn.unchecked_transaction().map_err(ViewError::from)?;
        for recorded in events.iter().filter(|recorded| !passed.holds(recorded)) {
            match (changes.fold(&moment, *tables, recorded), &skip) {
                (Err(ViewError::Codec(_)), Some(_)) if skipped.len() >= *room => {
                    return Err(RebuildError::TooMany);
                }
                (Err(ViewError::Codec(error)), Some(now)) => {
                    skipped.push(DeadLetter::of(P::NAME, recorded, &error, *now));
                }
                (Err(ViewError::Codec(error)), None) => {
                    let kind = recorded.event.kind.to_string();
                    let reason = error.to_string();
                    return Err(RebuildError::Event { position: recorded.position, kind, reason });
                }
                (folded, _) => folded?,
            }
        }
        if changes.held() < MAX_HELD {
            return Ok(Vec::new());
        }
        Ok(std::mem::take(changes).portions(PORTION))
    }
}

/// Many events after a position; fewer than were asked for at the end of the log.
async fn read(store: &dyn EventStore, mut after: Position) -> Result<Vec<RecordedEvent>, ViewError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    for _ in 0..READS {
        let more = store.read_all(after, MAX_READ_EVENTS).await?;
        let Some(last) = more.last() else { break };
        after = last.position;
        bytes += more.iter().map(|recorded| recorded.event.data.len()).sum::<usize>();
        events.extend(more);
        if bytes >= READ_BYTES {
            break;
        }
    }
    Ok(events)
}

async fn write<P: Projection>(
    views: &ViewStore,
    tables: ViewTables,
    portions: Vec<P>,
) -> Result<(), ViewError> {
    for portion in portions {
        views.write(move |transaction| portion.store(transaction, tables)).await?;
    }
    Ok(())
}

/// Works on a thread where nothing else waits.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RebuildError> + Send + 'static,
) -> Result<T, RebuildError> {
    let stopped = |_panicked| Err(ViewError::from(DatabaseError::Closed).into());
    tokio::task::spawn_blocking(work).await.unwrap_or_else(stopped)
}

#[cfg(test)]
mod tests;
