//! What is stored beside a log, and moves with it: webhook deliveries, and a few files that are copied as they are.

use std::{fs, path::Path};

use amoiq_actors::webhooks::{RelocatedDeliveries, StoredDeliveries};
use amoiq_events::{
    Position, durable_file,
    postgres::{PostgresDatabase, PostgresOptions},
    store::{Epoch, sqlite::private, transfer::position_map::PositionMap},
};
use anyhow::{Context, ensure};

/// Deliveries of webhooks.
const OUTBOX: &str = "outbox.db";

/// Signs tokens where the settings have no secret.
const JWT_SECRET: &str = "jwt_secret";

/// Names events by id and position: it is copied where positions stay.
const DEAD_LETTERS: &str = "dead-letters.json";

/// When keys were used last.
const KEY_USES: &str = "key_uses.json";

const LOG: &str = "log.db";

/// Files of a log and of what follows it, that no migration leaves before its end.
const OF_A_LOG: [&str; 2] = [LOG, "views.db"];

/// From one data directory to another. Deliveries are in the directory of a log in files; those beside a log in a database
/// are in the directory too, unless nodes share them.
#[derive(Clone, Copy)]
pub(super) struct DirectoryMove<'a> {
    pub(super) from: &'a Path,
    pub(super) to: &'a Path,
    /// Where nodes share the deliveries of the side that is a database.
    pub(super) shared: Option<&'a PostgresOptions>,
    pub(super) is_into_database: bool,
}

/// What was moved.
pub(super) struct MovedFiles {
    pub(super) deliveries: RelocatedDeliveries,
    /// What became of the secret, for people to read.
    pub(super) jwt_secret: &'static str,
}

impl DirectoryMove<'_> {
    /// Refuses a source with unfinished work, and a target with another log.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let erasing = fs::read_to_string(self.from.join("erasing")).unwrap_or_default();
        ensure!(
            ["", "[]"].contains(&erasing.trim()),
            "an erasure is not complete in {}: start the service there until it is",
            self.from.display()
        );
        // An interrupted migration leaves others beside a log that is not complete.
        let names = if self.is_into_database { &OF_A_LOG[..] } else { &[LOG] };
        names.iter().try_for_each(|name| self.ensure_absent(name))?;
        if self.shared.is_some() && self.is_into_database { self.ensure_absent(OUTBOX) } else { Ok(()) }
    }

    /// Refuses deliveries in the target that an interrupted migration cannot have left.
    pub(super) fn check_deliveries(&self, is_continued: bool) -> anyhow::Result<()> {
        if self.is_into_database && !is_continued { self.ensure_absent(OUTBOX) } else { Ok(()) }
    }

    fn ensure_absent(&self, name: &str) -> anyhow::Result<()> {
        let file = self.to.join(name);
        ensure!(!file.try_exists()?, "{} is of another log: nothing is overwritten", file.display());
        Ok(())
    }

    /// The deliveries of the source, if it has any.
    pub(super) fn source(&self) -> anyhow::Result<Option<StoredDeliveries>> {
        if let (false, Some(shared)) = (self.is_into_database, self.shared) {
            return Ok(Some(in_database(shared)?));
        }
        let file = self.from.join(OUTBOX);
        if !file.try_exists()? {
            return Ok(None);
        }
        Ok(Some(StoredDeliveries::in_file(&file).with_context(|| file.display().to_string())?))
    }

    /// Where the deliveries go. A file gets its name with the log's own last step.
    fn target(&self) -> anyhow::Result<StoredDeliveries> {
        if let (true, Some(shared)) = (self.is_into_database, self.shared) {
            return in_database(shared);
        }
        let file = self.to.join(format!("{OUTBOX}.new"));
        for suffix in ["", "-journal", "-wal", "-shm"] {
            durable_file::remove(&self.to.join(format!("{OUTBOX}.new{suffix}")))?;
        }
        private::make_file(&file)?;
        Ok(StoredDeliveries::in_new_file(&file)?)
    }

    /// Names the file of the deliveries beside a database. A log in files does that with its own last step.
    fn name_file(&self) -> anyhow::Result<()> {
        if self.is_into_database && self.shared.is_none() {
            fs::rename(self.to.join(format!("{OUTBOX}.new")), self.to.join(OUTBOX))?;
            fs::File::open(self.to)?.sync_all()?;
        }
        Ok(())
    }

    /// Moves everything.
    pub(super) async fn move_all(
        &self,
        source: Option<&StoredDeliveries>,
        epoch: Epoch,
        map: &PositionMap,
    ) -> anyhow::Result<MovedFiles> {
        let mut deliveries = RelocatedDeliveries::default();
        if let Some(source) = source {
            deliveries = source.relocate(&self.target()?, epoch, map).await?;
            self.name_file()?;
        }
        if !map.is_renumbered() {
            self.copy(DEAD_LETTERS)?;
        }
        self.copy(KEY_USES)?;
        Ok(MovedFiles { deliveries, jwt_secret: self.copy(JWT_SECRET)? })
    }

    fn copy(&self, name: &str) -> anyhow::Result<&'static str> {
        let (from, to) = (self.from.join(name), self.to.join(name));
        if !from.try_exists()? {
            return Ok("the settings have it, or the next start makes a new one");
        }
        let contents = fs::read(&from)?;
        if !to.try_exists()? {
            durable_file::replace(&to, &contents)?;
            return Ok("copied");
        }
        if fs::read(&to)? == contents {
            return Ok("copied");
        }
        Ok("the target has another one, which was kept: tokens that the source signed are invalid there")
    }
}

fn in_database(shared: &PostgresOptions) -> anyhow::Result<StoredDeliveries> {
    Ok(StoredDeliveries::in_database(PostgresDatabase::open(shared)?)?)
}

/// The positions that deliveries refer to.
pub(super) async fn positions(deliveries: Option<&StoredDeliveries>) -> anyhow::Result<Vec<Position>> {
    match deliveries {
        Some(deliveries) => Ok(deliveries.positions().await?),
        None => Ok(Vec::new()),
    }
}
