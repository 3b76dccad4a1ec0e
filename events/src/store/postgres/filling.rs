//! A log in PostgreSQL that is filled with the events of another one. Positions, versions and ids stay the same.
//!
//! A row of the table `filling` keeps services from opening it until it is complete. Each group of events is one transaction,
//! so that an interrupted filling from the same log goes on where it was; any other starts anew.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{PostgresStore, reading::event_rows::number, schema};
use crate::{
    Ambient, Position, RecordedEvent, Version,
    postgres::{
        CallFailure, DatabaseSession, PostgresDatabase, PostgresOpenError, PostgresOptions, SchemaName,
        timing,
    },
    store::{
        Epoch, EventStore,
        transfer::{
            filling::{FillingError, LogFilling},
            work_progress::ProgressCallback,
        },
    },
};

/// Who else has the log open: each has one session that listens. What a session did last stays visible.
const OTHERS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query = 'LISTEN {schema}'";

/// One filling at a time: the lock goes with the session.
const TAKE: &str = "SELECT pg_try_advisory_lock(hashtextextended('amoiq filling {name}', 0))";

/// What is in the log, and what it is filled from.
const STATE: &str = "SELECT h.position, s.epoch, f.is_one IS NOT NULL, f.source
    FROM {schema}.head h CROSS JOIN {schema}.store s LEFT JOIN {schema}.filling f ON true";

/// Removes what an earlier filling left.
const EMPTY: &str = "TRUNCATE {schema}.events, {schema}.streams;
    UPDATE {schema}.head SET position = 0, removals = 0;
    DELETE FROM {schema}.filling";

/// The newest version of each of these streams; none for one that is not there.
const VERSIONS: &str = "SELECT (SELECT e.version FROM {schema}.events e WHERE e.stream = s.stream
        ORDER BY e.version DESC LIMIT 1)
    FROM unnest($1::text[]) WITH ORDINALITY AS n (name, number)
    LEFT JOIN {schema}.streams s ON s.name = n.name COLLATE \"C\" ORDER BY n.number";

/// A stream that was truncated starts late.
const STREAMS: &str = "INSERT INTO {schema}.streams (name, removed)
    SELECT * FROM unnest($1::text[], $2::bigint[])";

const EVENTS: &str = "INSERT INTO {schema}.events
    SELECT g.position, (SELECT s.stream FROM {schema}.streams s WHERE s.name = g.name COLLATE \"C\"),
        g.version, g.id, g.type, g.schema, g.time, g.causation, g.actor, g.data
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::uuid[], $5::bytea[], $6::int[], $7::bigint[], $8::bytea[],
        $9::bytea[], $10::bytea[])
        AS g (position, name, version, id, type, schema, time, causation, actor, data)";

const HEAD: &str = "UPDATE {schema}.head SET position = $1";

/// How long to wait for others to go: the server notices only after a while that a process was killed.
const GOING: Duration = Duration::from_secs(3);

/// What one call may take: it may have to wait for a standby.
const PATIENCE: Duration = Duration::from_mins(1);

/// Work with a session.
type SessionWork<'a, T> = Pin<Box<dyn Future<Output = Result<T, FillingError>> + Send + 'a>>;

impl From<PostgresOpenError> for FillingError {
    fn from(error: PostgresOpenError) -> Self {
        Self::of(error)
    }
}

impl From<CallFailure> for FillingError {
    fn from(failure: CallFailure) -> Self {
        Self::of(failure)
    }
}

/// A log that is being filled.
pub struct PostgresFilling {
    options: PostgresOptions,
    database: PostgresDatabase,
    /// Gone after a call that was not answered.
    session: Option<DatabaseSession>,
    reached: Position,
    epoch: Epoch,
}

/// How many services, or commands that read, have a log open.
///
/// # Errors
/// When the database does not answer.
pub fn open_elsewhere(options: &PostgresOptions) -> Result<u64, PostgresOpenError> {
    let database = PostgresDatabase::open(options)?;
    let asked = database.clone();
    database.wait_for(async move {
        let mut session = asked.connect().await?;
        Ok::<_, PostgresOpenError>(others(&mut session, &asked.schema).await?)
    })
}

/// How many others have the log open, and do not go.
async fn others(session: &mut DatabaseSession, schema: &SchemaName) -> Result<u64, CallFailure> {
    let deadline = Instant::now() + GOING;
    loop {
        let count: i64 = session.value(&schema.statement(OTHERS)).await?;
        if count == 0 || Instant::now() > deadline {
            return Ok(count.cast_unsigned());
        }
        sleep(timing::RETRY).await;
    }
}

/// Takes the lock of fillings, unless another one keeps it.
async fn take(session: &mut DatabaseSession, schema: &SchemaName) -> Result<bool, CallFailure> {
    let deadline = Instant::now() + GOING;
    loop {
        let is_taken: bool = session.value(&schema.statement(TAKE)).await?;
        if is_taken || Instant::now() > deadline {
            return Ok(is_taken);
        }
        sleep(timing::RETRY).await;
    }
}

impl PostgresFilling {
    /// Starts to fill an empty log, which is made where there is none, or goes on with what an interrupted filling from the
    /// same source left.
    ///
    /// # Errors
    /// When the log is not empty, somebody else has it open, or the database refuses.
    pub fn begin(
        options: &PostgresOptions,
        ambient: &Ambient,
        source: Option<Epoch>,
    ) -> Result<Self, FillingError> {
        let database = PostgresDatabase::open(options)?;
        let new_epoch = Epoch(u64::from_le_bytes(ambient.bytes()));
        let (asked, options) = (database.clone(), options.clone());
        database.clone().wait_for(async move {
            let mut session = asked.connect().await?;
            schema::prepare(&mut session, &asked.schema, Some(new_epoch)).await?;
            let (reached, epoch) = start(&mut session, &asked.schema, source, new_epoch).await?;
            Ok(Self { options, database, session: Some(session), reached, epoch })
        })
    }

    /// Works with the session, on the database's thread. What a failure left open is undone.
    fn call<T: Send + 'static>(
        &mut self,
        work: impl for<'a> FnOnce(&'a mut DatabaseSession, &'a SchemaName) -> SessionWork<'a, T> + Send + 'static,
    ) -> Result<T, FillingError> {
        let silent = || FillingError::of(CallFailure::silent());
        let mut session = self.session.take().ok_or_else(silent)?;
        let schema = self.database.schema.clone();
        let (session, result) = self.database.wait_for(async move {
            let result = work(&mut session, &schema).await;
            let is_usable = result.is_ok() || session.execute("ROLLBACK", timing::WRITE_CALL).await.is_ok();
            Ok::<_, FillingError>((is_usable.then_some(session), result))
        })?;
        self.session = session;
        result
    }
}

impl LogFilling for PostgresFilling {
    fn reached(&self) -> Position {
        self.reached
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn add(&mut self, events: &[RecordedEvent]) -> Result<(), FillingError> {
        let Some(last) = events.last().map(|event| event.position) else { return Ok(()) };
        let rows = events.to_vec();
        self.call(move |session, schema| Box::pin(async move { insert(session, schema, &rows).await }))?;
        self.reached = last;
        Ok(())
    }

    fn reader(&mut self) -> Result<Arc<dyn EventStore>, FillingError> {
        Ok(Arc::new(PostgresStore::open_unfinished(&self.options)?))
    }

    fn finish(mut self: Box<Self>, _report: ProgressCallback<'_>) -> Result<(), FillingError> {
        self.call(|session, schema| {
            Box::pin(async move {
                session.execute(&schema.fill("DELETE FROM {schema}.filling"), PATIENCE).await?;
                if session.was_unreplicated() {
                    return Err(FillingError::of(
                        "the wait for the standby was ended: look whether it has the log",
                    ));
                }
                Ok(())
            })
        })
    }

    fn discard(mut self: Box<Self>) -> Result<(), FillingError> {
        self.call(|session, schema| {
            Box::pin(async move {
                Ok(session.execute(&schema.fill(&format!("BEGIN; {EMPTY}; COMMIT")), PATIENCE).await?)
            })
        })
    }
}

/// Tells where to go on, and the epoch. Whatever else an earlier filling left is removed.
async fn start(
    session: &mut DatabaseSession,
    schema: &SchemaName,
    source: Option<Epoch>,
    new_epoch: Epoch,
) -> Result<(Position, Epoch), FillingError> {
    if !take(session, schema).await? {
        return Err(FillingError::of("another `amoiq migrate` or `amoiq events import` fills the log now"));
    }
    let open = others(session, schema).await?;
    if open > 0 {
        return Err(FillingError::of(format!(
            "{open} services or commands have the log in the schema `{}` open: stop them first",
            schema.as_str()
        )));
    }
    let lock = "BEGIN; SELECT pg_advisory_xact_lock({lock})";
    session.execute(&schema.fill(lock), timing::WRITE_CALL).await?;
    let rows = session.query(&schema.statement(STATE), &[], timing::WRITE_CALL).await?;
    let row = rows.first().ok_or_else(|| FillingError::of("the log has no head"))?;
    let column = |error: tokio_postgres::Error| FillingError::from(CallFailure::from(error));
    let (position, epoch): (i64, i64) = (row.try_get(0).map_err(column)?, row.try_get(1).map_err(column)?);
    let (is_filling, from): (bool, Option<i64>) =
        (row.try_get(2).map_err(column)?, row.try_get(3).map_err(column)?);
    let source = source.map(|source| source.0.cast_signed());
    if !is_filling && position > 0 {
        return Err(FillingError::of(format!(
            "the schema `{}` holds a log already: name another in store.schema, nothing is overwritten",
            schema.as_str()
        )));
    }
    if is_filling && source.is_some() && from == source {
        session.execute("COMMIT", timing::WRITE_CALL).await?;
        return Ok((Position::from_u64(position.cast_unsigned()), Epoch(epoch.cast_unsigned())));
    }
    let source = source.map_or("NULL".to_owned(), |source| source.to_string());
    let anew = format!(
        "{EMPTY};
         UPDATE {{schema}}.store SET epoch = {0};
         DELETE FROM {{schema}}.epochs;
         INSERT INTO {{schema}}.epochs (number, epoch, common) VALUES (1, {0}, 0);
         INSERT INTO {{schema}}.filling (source) VALUES ({source});
         COMMIT",
        new_epoch.0.cast_signed()
    );
    session.execute(&schema.fill(&anew), PATIENCE).await?;
    Ok((Position::START, new_epoch))
}

/// Inserts events that follow those before them, in one transaction.
async fn insert(
    session: &mut DatabaseSession,
    schema: &SchemaName,
    events: &[RecordedEvent],
) -> Result<(), FillingError> {
    session.execute("BEGIN", timing::WRITE_CALL).await?;
    let mut versions = StreamVersions::of(events);
    let stored = session.query(&schema.statement(VERSIONS), &[&versions.names], PATIENCE).await?;
    let stored: Result<Vec<Option<i64>>, _> = stored.iter().map(|row| row.try_get(0)).collect();
    versions.check(events, stored.map_err(CallFailure::from)?)?;
    let (names, removed): (Vec<&str>, Vec<i64>) = versions.new.iter().copied().unzip();
    session.query(&schema.statement(STREAMS), &[&names, &removed], PATIENCE).await?;
    insert_rows(session, schema, events).await?;
    let last = events.last().map_or(0, |event| number(event.position.as_u64()));
    session.query(&schema.statement(HEAD), &[&last], PATIENCE).await?;
    Ok(session.execute("COMMIT", PATIENCE).await?)
}

async fn insert_rows(
    session: &mut DatabaseSession,
    schema: &SchemaName,
    events: &[RecordedEvent],
) -> Result<(), CallFailure> {
    let numbers = |of: fn(&RecordedEvent) -> i64| events.iter().map(of).collect::<Vec<i64>>();
    let texts = |of: fn(&RecordedEvent) -> &str| {
        events.iter().map(|event| of(event).as_bytes()).collect::<Vec<&[u8]>>()
    };
    let positions = numbers(|event| number(event.position.as_u64()));
    let versions = numbers(|event| number(event.version.as_u64()));
    let times = numbers(|event| event.event.time.as_millis());
    let names: Vec<&str> = events.iter().map(|event| event.stream.as_str()).collect();
    let (types, causations) = (texts(|event| &event.event.kind), texts(|event| &event.event.causation));
    let actors = texts(|event| &event.event.actor);
    let ids: Vec<Uuid> = events.iter().map(|event| event.event.id.as_uuid()).collect();
    let schemas: Vec<i32> = events.iter().map(|event| event.event.schema.into()).collect();
    let datas: Vec<&[u8]> = events.iter().map(|event| &*event.event.data).collect();
    let statement = schema.statement(EVENTS);
    session
        .query(
            &statement,
            &[&positions, &names, &versions, &ids, &types, &schemas, &times, &causations, &actors, &datas],
            PATIENCE,
        )
        .await?;
    Ok(())
}

/// The streams of some events.
struct StreamVersions<'a> {
    /// In the order in which they come.
    names: Vec<&'a str>,
    /// Those that are not in the log, with the version that was removed before their first event.
    new: Vec<(&'a str, i64)>,
}

impl<'a> StreamVersions<'a> {
    fn of(events: &'a [RecordedEvent]) -> Self {
        let mut seen = std::collections::HashSet::new();
        let names = events.iter().map(|event| event.stream.as_str()).filter(|name| seen.insert(*name));
        Self { names: names.collect(), new: Vec::new() }
    }

    /// Checks that each event follows the one before it in its stream, and finds new streams. `stored` are the newest
    /// versions in the log.
    fn check(&mut self, events: &'a [RecordedEvent], stored: Vec<Option<i64>>) -> Result<(), FillingError> {
        let known = self.names.iter().copied().zip(stored);
        let mut last: HashMap<&str, i64> =
            known.filter_map(|(name, version)| version.map(|version| (name, version))).collect();
        for (index, RecordedEvent { stream, version, .. }) in events.iter().enumerate() {
            let at = number(version.as_u64());
            let misfit = |what: String| Err(FillingError::Misfit { index, what });
            match last.entry(stream.as_str()) {
                Entry::Occupied(before) if at != before.get() + 1 => {
                    return misfit(format!("version {version} of {stream} follows {}", before.get()));
                }
                Entry::Occupied(mut before) => drop(before.insert(at)),
                Entry::Vacant(_) if *version == Version::NONE => {
                    return misfit(format!("version 0 of {stream}"));
                }
                Entry::Vacant(first) => {
                    self.new.push((stream.as_str(), at - 1));
                    first.insert(at);
                }
            }
        }
        Ok(())
    }
}
