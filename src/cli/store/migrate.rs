//! `amoiq migrate`: moves a log to another backend, with everything that is stored beside it.
//!
//! The source is stopped and is not changed. The target is empty, or what an interrupted migration from the same source left:
//! then it goes on there. No service opens the target before it is complete: every event was read back and compared, and the
//! webhook deliveries are in place.

mod beside;
mod log_address;

use std::{path::Path, sync::Arc, time::Duration};

use amoiq_actors::store_files::store_files;
use amoiq_events::{
    Ambient, EventLog, Position,
    store::{
        EventStore,
        postgres::{PostgresStore, filling::open_elsewhere},
        sqlite::{DirectoryLock, ReadOnlyStore, SqliteFilling},
        transfer::{
            filling::LogFilling,
            log_copy::{LogCopyError, LogSum, compare_logs, copy_events},
            position_map::PositionMap,
        },
    },
};
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::json;

use self::{
    beside::{DirectoryMove, MovedFiles},
    log_address::LogAddress,
};
use super::read_log::begin_filling;
use crate::{
    access::secret::Secret,
    cli::{
        block_on,
        output::{StagedProgress, print_result, print_status},
    },
    config::{Config, StoreBackend, StoreConfig},
    startup::{kurrent_log, open_log::postgres_options, shared_database},
};

/// Move the store to another backend. The service must be stopped.
#[derive(Debug, Args)]
pub(crate) struct MigrateCommand {
    /// Where the events are: `sqlite:DIRECTORY`, `postgres://HOST/DATABASE` or `esdb://HOST`.
    ///
    /// The user, the password and the schema of a database, and the directory beside it, are the settings `store.user`,
    /// `store.password`, `store.schema` and `store.path`.
    #[arg(long, value_name = "ADDRESS")]
    from: LogAddress,
    /// Where they go, in the same form: an empty directory, or a database without a log in that schema.
    #[arg(long, value_name = "ADDRESS")]
    to: LogAddress,
    /// Print what was moved as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &MigrateCommand, config: &Config) -> anyhow::Result<()> {
    match (&command.from, &command.to) {
        (LogAddress::Sqlite(from), to) if to.backend() != StoreBackend::Sqlite => {
            into_database(command, from, &at(to, config))
        }
        (from, LogAddress::Sqlite(to)) if from.backend() != StoreBackend::Sqlite => {
            into_files(command, &at(from, config), to)
        }
        _ => bail!(
            "one of --from and --to has to be `sqlite:DIRECTORY`, and the other the address of a database"
        ),
    }
}

/// The settings, with this address in place of theirs.
fn at(address: &LogAddress, config: &Config) -> Config {
    let url = Secret::new(address.url().to_owned());
    let store = StoreConfig { backend: address.backend(), url, ..config.store.clone() };
    Config { store, ..config.clone() }
}

fn into_database(command: &MigrateCommand, from: &Path, config: &Config) -> anyhow::Result<()> {
    let (store, shared) = (&config.store, shared_database(config));
    ensure_apart(from, &store.path)?;
    let (_from_lock, source) = sqlite_source(from)?;
    let _to_lock = DirectoryLock::take_within(&store.path, Duration::ZERO)?;
    let shared = shared.as_ref().map(|(_, database)| database);
    let directories = DirectoryMove { from, to: &store.path, shared, is_into_database: true };
    directories.check()?;
    let filling = begin_filling(store, Some(source.epoch())).context("--to")?;
    directories.check_deliveries(filling.reached() > Position::START)?;
    migrate(command, &source, directories, filling)
}

fn into_files(command: &MigrateCommand, config: &Config, to: &Path) -> anyhow::Result<()> {
    let (store, shared) = (&config.store, shared_database(config));
    ensure_apart(to, &store.path)?;
    let _from_lock = DirectoryLock::take_within(&store.path, Duration::ZERO)?;
    let shared = shared.as_ref().map(|(_, database)| database);
    let directories = DirectoryMove { from: &store.path, to, shared, is_into_database: false };
    directories.check()?;
    let source = database_source(store).context("--from")?;
    let ambient = Ambient::system();
    let filling = SqliteFilling::begin(store_files(to), &ambient, Some(source.epoch())).context("--to")?;
    migrate(command, &*source, directories, Box::new(filling))
}

/// The log of stopped services.
fn database_source(store: &StoreConfig) -> anyhow::Result<Arc<dyn EventStore>> {
    if store.backend == StoreBackend::Kurrentdb {
        // It cannot tell who else has the log open: what is appended meanwhile is found at the end.
        return kurrent_log::open_existing(store, &Ambient::system());
    }
    let options = postgres_options(store);
    let open = open_elsewhere(&options)?;
    ensure!(open == 0, "{open} services or commands have the log open: stop them first");
    Ok(Arc::new(PostgresStore::open_existing(&options)?))
}

/// Beside a log in a database is another directory than that of the log in files.
fn ensure_apart(directory: &Path, store_path: &Path) -> anyhow::Result<()> {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_not_there| path.to_owned());
    ensure!(
        resolved(directory) != resolved(store_path),
        "store.path is {}, which `sqlite:` names too: the data directory beside the database has to be another one",
        store_path.display()
    );
    Ok(())
}

/// The log of a stopped service, whose directory is held.
fn sqlite_source(directory: &Path) -> anyhow::Result<(DirectoryLock, ReadOnlyStore)> {
    let log = directory.join("log.db");
    ensure!(log.try_exists()?, "--from: there is no log: {} does not exist", log.display());
    let lock = DirectoryLock::take_within(directory, Duration::ZERO).context("--from")?;
    Ok((lock, ReadOnlyStore::open(directory).context("--from")?))
}

/// Fills the target, compares it with the source, and moves what is beside the log.
fn migrate(
    command: &MigrateCommand,
    source: &dyn EventStore,
    directories: DirectoryMove<'_>,
    mut filling: Box<dyn LogFilling + '_>,
) -> anyhow::Result<()> {
    let head = source.head();
    let mut parts = StagedProgress::default();
    let mut report = |work| parts.show(work);
    if filling.reached() > Position::START {
        print_status(&format!("an interrupted migration continues after position {}", filling.reached()));
    }
    block_on(async { Ok(copy_events(source, head, &mut *filling, &mut report).await?) })?;
    let deliveries = directories.source()?;
    let mut map = PositionMap::new(block_on(beside::positions(deliveries.as_ref()))?);
    let copy = filling.reader()?;
    let mut each = |position, copied| map.observe(position, copied);
    let compared =
        block_on(async { Ok(compare_logs((source, head), &*copy, &mut report, &mut each).await) })?;
    let sum = match compared {
        Err(error @ LogCopyError::Difference { .. }) => {
            drop(copy);
            filling.discard()?;
            return Err(error).context(
                "the copy is not what is in the source now; it was removed, so run the migration again from its start",
            );
        }
        compared => compared?,
    };
    let later = block_on(async { Ok(source.read_all(head, 1).await?) })?;
    ensure!(later.is_empty(), "--from: events were appended meanwhile: stop the service, and run this again");
    drop(copy);
    let epoch = filling.epoch();
    let moved = block_on(directories.move_all(deliveries.as_ref(), epoch, &map))?;
    filling.finish(&mut report)?;
    parts.finish();
    print(command, &sum, &moved, &epoch.to_string())
}

fn print(command: &MigrateCommand, sum: &LogSum, moved: &MovedFiles, epoch: &str) -> anyhow::Result<()> {
    let (LogSum { events, checksum }, MovedFiles { deliveries, jwt_secret, .. }) = (sum, moved);
    if command.json {
        let (lanes, pending) = (deliveries.lanes, deliveries.pending);
        let result = json!({
            "events": events, "checksum": checksum, "epoch": epoch, "endpoints": lanes,
            "deliveries": deliveries.deliveries, "pendingDeliveries": pending, "jwtSecret": jwt_secret,
        });
        return print_result(&result.to_string());
    }
    print_result(&format!(
        "{events} events were moved and compared; their SHA-256 is {checksum}\n\
         {} endpoints and {} deliveries were moved, of which {} wait\n\
         jwt_secret: {jwt_secret}\n\
         the log has the new epoch {epoch}: the next start rebuilds the read models\n\
         the source was not changed: remove it when the service runs on the target",
        deliveries.lanes, deliveries.deliveries, deliveries.pending,
    ))
}
