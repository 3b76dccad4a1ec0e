//! The day on which each key was used last, across restarts: `key_uses.json` in the data directory, written once a minute when
//! something changed and at the end. A crash loses a minute of it, a restore all of it; it decides nothing.
//!
//! A token is a use of the key that minted it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use amoiq_actors::{tenants::TenantRegistry, timing::PeriodicTask};
use amoiq_events::{KeyId, Timestamp, durable_file};

const FILE: &str = "key_uses.json";

/// How often the file is written, if something changed.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// Keeps the days of a registry's keys in a file.
#[derive(Clone)]
pub struct KeyUses {
    registry: Arc<TenantRegistry>,
    directory: PathBuf,
}

impl KeyUses {
    /// Reads the file, and writes it from now on. A file that cannot be read is replaced.
    #[must_use]
    pub fn start(registry: Arc<TenantRegistry>, directory: &Path) -> Self {
        let uses = Self { registry, directory: directory.to_owned() };
        let kept = uses.kept().unwrap_or_else(|error| {
            tracing::warn!(%error, "{FILE} cannot be read; it starts anew, so it is not known when keys were used last");
            BTreeMap::new()
        });
        let snapshot = uses.registry.current();
        kept.iter().for_each(|(key, day)| snapshot.note_use(key, *day));
        let (writer, mut written) = (uses.clone(), kept);
        PeriodicTask::every(WRITE_EVERY).start(async move || writer.write_changes(&mut written).await);
        uses
    }

    async fn write_changes(&self, written: &mut BTreeMap<KeyId, u32>) {
        let now = self.now();
        if now == *written {
            return;
        }
        let (uses, days) = (self.clone(), now.clone());
        match actix_web::rt::task::spawn_blocking(move || uses.write(&days)).await {
            Ok(Ok(())) => *written = now,
            Ok(Err(error)) => tracing::warn!(%error, "{FILE} is not written; trying again"),
            // A thread that panicked has said so.
            Err(_panicked) => {}
        }
    }

    /// Writes the file when the service stops.
    pub fn finish(&self) {
        let now = self.now();
        let is_new = self.kept().map_or(true, |kept| kept != now);
        if is_new && let Err(error) = self.write(&now) {
            tracing::warn!(%error, "{FILE} is not written");
        }
    }

    fn now(&self) -> BTreeMap<KeyId, u32> {
        self.registry.current().uses().map(|(key, day)| (key.clone(), day)).collect()
    }

    fn kept(&self) -> io::Result<BTreeMap<KeyId, u32>> {
        match fs::read(self.directory.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    fn write(&self, days: &BTreeMap<KeyId, u32>) -> io::Result<()> {
        durable_file::replace(&self.directory.join(FILE), &serde_json::to_vec(days)?)
    }
}

/// A day as it is shown: `2026-11-30`.
#[must_use]
pub fn date(day: u32) -> String {
    Timestamp::of_day(day).to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_shown_as_a_date() {
        assert_eq!((date(0), date(20_787)), ("1970-01-01".to_owned(), "2026-11-30".to_owned()));
    }
}
