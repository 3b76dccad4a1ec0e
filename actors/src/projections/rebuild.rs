//! Rebuilds a projection from the whole log, into tables of a new generation beside those that serve.
//!
//! Reading and folding run at the same time, on two threads. Changes stay in memory until there are many. They are then
//! written in the order of their keys, in portions: each is a transaction of its own in the writer's queue, so the live
//! projection waits for one portion at most. Nobody reads the new tables before the switch, which folds what the live
//! projection is ahead, in portions, and then changes which generation serves, in one transaction. Dropping the work at
//! any time leaves the old tables as they are; the next rebuild or start removes what was filled.
//!
//! An event that cannot be read ends the rebuild, unless it may skip events. Then the event is on the list of dead
//! letters before the new tables serve. A fold only writes tables, so a rebuild sends nothing to anybody.

use std::{marker::PhantomData, sync::Arc};

use amoiq_events::{
    EventLog, Position, RecordedEvent, Timestamp,
    store::{LogReader, MAX_READ_EVENTS},
};
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

pub(crate) use rebuild_handle::{RebuildControl, RebuildReporter};
pub use rebuild_handle::{RebuildHandle, RebuildOutcome, RebuildReport, RebuildUnderway};

mod rebuild_handle;

/// How many changes are held before they are written: sessions, of some 500 bytes each.
const MAX_HELD_CHANGES: usize = 65_536;

/// How many changes one transaction writes, which takes some ten milliseconds.
const PORTION_CHANGES: usize = 2_048;

/// The most reads of the log that are folded at a time, of two pages each.
const BATCH_READS: usize = 8;

/// The bytes of data that end such a batch: two batches are in memory.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Why a projection was not rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// An event cannot be read.
    #[error("it stopped at position {position} (`{kind}`): {reason}")]
    Event {
        /// Its position.
        position: Position,
        /// Its dotted type.
        kind: String,
        /// Why.
        reason: String,
    },
    /// So many events cannot be read that something else must be wrong.
    #[error("more than {MAX_LETTERS} events cannot be read: the log is a newer release's")]
    TooMany,
    /// The database or the log refuses.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Filled tables that do not serve yet.
pub(crate) struct FilledGeneration<P> {
    generation: ViewGeneration,
    skipped: Vec<DeadLetter>,
    projection: PhantomData<fn() -> P>,
}

/// Rebuilds a projection while nothing else uses the database: fills new tables and lets them serve.
///
/// # Errors
/// A [`RebuildError`]; the old tables then still serve.
pub async fn rebuild<P: Projection>(
    views: &ViewStore,
    log: &Arc<dyn EventLog>,
    skip: Option<Timestamp>,
    report: &watch::Sender<RebuildReport>,
) -> Result<(), RebuildError> {
    let filled = fill::<P>(views.clone(), Arc::clone(log), skip, report.clone()).await?;
    filled.serve(views, &**log).await?;
    sweep::<P>(views).await?;
    Ok(())
}

/// Removes the tables that do not serve, in portions.
pub(crate) async fn sweep<P: Projection>(views: &ViewStore) -> Result<(), ViewError> {
    while views.write(|transaction| view_generation::sweep::<P>(transaction)).await? {}
    Ok(())
}

/// Fills tables of a new generation with the whole log. With `skip`, the time to note, events that cannot be read are
/// skipped.
pub(crate) async fn fill<P: Projection>(
    views: ViewStore,
    log: Arc<dyn EventLog>,
    skip: Option<Timestamp>,
    report: watch::Sender<RebuildReport>,
) -> Result<FilledGeneration<P>, RebuildError> {
    let epoch = log.epoch();
    sweep::<P>(&views).await?;
    let mut generation =
        views.write(move |transaction| ViewGeneration::create::<P>(transaction, epoch)).await?;
    let (reading, tables) = (views.clone(), generation.tables);
    let mut folding = off_the_arbiter(move || Ok(RebuildFold::<P>::new(&reading, tables, skip)?)).await?;
    let mut pages = LogReader::all(&*log, generation.position).in_pairs();
    loop {
        let mut batch = read(&mut pages).await?;
        // A short batch means that the switch can fold the rest.
        let is_near = batch.len() < MAX_READ_EVENTS;
        while let Some(last) = batch.last().map(|event| event.position) {
            let work = off_the_arbiter(move || folding.fold(&batch).map(|full| (folding, full)));
            let (worked, next) = tokio::join!(work, read(&mut pages));
            let (done, full) = worked?;
            folding = done;
            write(&views, generation.tables, full).await?;
            generation.position = last;
            report.send_modify(|report| report.advance(last, log.head(), folding.skipped.len()));
            batch = next?;
        }
        let rest = std::mem::take(&mut folding.changes);
        let portions = off_the_arbiter(move || Ok(rest.portions(PORTION_CHANGES))).await?;
        write(&views, generation.tables, portions).await?;
        if is_near {
            return Ok(FilledGeneration { generation, skipped: folding.skipped, projection: PhantomData });
        }
    }
}

impl<P: Projection> FilledGeneration<P> {
    /// Lets the tables serve, and returns their position. The live projection must not fold meanwhile.
    pub(crate) async fn serve(self, views: &ViewStore, log: &dyn EventLog) -> Result<Position, ViewError> {
        let (letters, skipped) = (views.letters().clone(), self.skipped);
        let added = tokio::task::spawn_blocking(move || letters.add(skipped)).await;
        added.map_err(|_panicked| DatabaseError::Closed)??;
        // In the writer's queue, so that it comes after whatever the live projection has underway.
        let serving = views.write(|transaction| ViewGeneration::serving(transaction, P::NAME)).await?;
        let mut filled = self.generation;
        let end = serving.filter(|serving| serving.epoch == filled.epoch).map(|serving| serving.position);
        if let Some(end) = end.filter(|end| filled.position < *end) {
            let mut pages = LogReader::all(log, filled.position).up_to(end);
            while let Some(ahead) = pages.next_page().await? {
                let (tables, skipped) = (filled.tables, views.letters().skipped_by(P::NAME));
                let portion = views.write(move |transaction| {
                    let mut changes = P::default();
                    fold(&mut changes, transaction, tables, &ahead, &skipped)?;
                    changes.store(transaction, tables)
                });
                portion.await?;
            }
            filled.position = end;
        }
        let switch = views.write(move |transaction| filled.serve::<P>(transaction));
        switch.await?;
        Ok(filled.position)
    }
}

/// The fold of a rebuild, on a thread of its own.
struct RebuildFold<P> {
    conn: Connection,
    tables: ViewTables,
    changes: P,
    /// Events that are skipped already.
    known: SkippedEvents,
    /// When set, further events may be skipped, with this time noted.
    skip: Option<Timestamp>,
    skipped: Vec<DeadLetter>,
    /// How many letters may still be added.
    room: usize,
}

impl<P: Projection> RebuildFold<P> {
    fn new(views: &ViewStore, tables: ViewTables, skip: Option<Timestamp>) -> Result<Self, ViewError> {
        let known = views.letters().skipped_by(P::NAME);
        let room = MAX_LETTERS.saturating_sub(views.letters().all().len());
        let conn = views.reader()?;
        Ok(Self { conn, tables, changes: P::default(), known, skip, skipped: Vec::new(), room })
    }

    /// Folds events. Returns the changes that are to be written now.
    fn fold(&mut self, events: &[RecordedEvent]) -> Result<Vec<P>, RebuildError> {
        let Self { conn, tables, changes, known, skip, skipped, room } = self;
        // One transaction for all reads: each by itself would lock the file.
        let transaction = conn.unchecked_transaction().map_err(ViewError::from)?;
        for recorded in events.iter().filter(|recorded| !known.contains(recorded)) {
            match (changes.fold(&transaction, *tables, recorded), &skip) {
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
        if changes.held() < MAX_HELD_CHANGES {
            return Ok(Vec::new());
        }
        Ok(std::mem::take(changes).portions(PORTION_CHANGES))
    }
}

/// The next events, many of them. At the end of the log they are fewer than one read can return.
async fn read(pages: &mut LogReader<'_>) -> Result<Vec<RecordedEvent>, ViewError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    for _ in 0..BATCH_READS {
        let Some(more) = pages.next_page().await? else { break };
        bytes += more.iter().map(|recorded| recorded.event.data.len()).sum::<usize>();
        events.extend(more);
        if bytes >= BATCH_BYTES {
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

/// Runs work on a thread where no request waits for it.
async fn off_the_arbiter<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RebuildError> + Send + 'static,
) -> Result<T, RebuildError> {
    let stopped = |_panicked| Err(ViewError::from(DatabaseError::Closed).into());
    tokio::task::spawn_blocking(work).await.unwrap_or_else(stopped)
}

#[cfg(test)]
mod tests;
