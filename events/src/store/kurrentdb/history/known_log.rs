//! What this node knows of the log, kept over its restart in a small file: which log it is, its epoch, and records that are in
//! it. A node that starts on a log without the newest of them begins a new epoch, see [`epoch_change`](super::epoch_change).
//!
//! The file is written every two seconds while the log grows, and when the store is closed. A node that is killed may leave one
//! that names an older record than it knew: when a restore then loses only what is newer than that, nobody notices.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    EventId, Position, durable_file,
    store::{
        kurrentdb::connecting::{known_history::KnownHistory, timing},
        postgres::EndTrail,
    },
};

/// The file in the data directory.
const NAME: &str = "log.known";

/// What the file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::store::kurrentdb) struct KnownLog {
    /// The id of the log's first record.
    log: Uuid,
    pub(in crate::store::kurrentdb) epoch: u64,
    pub(in crate::store::kurrentdb) records: EndTrail,
}

impl KnownLog {
    /// Whether it is about the log with this first record.
    pub(in crate::store::kurrentdb) fn is_of(&self, log: Uuid) -> bool {
        if self.log != log {
            tracing::warn!("this node followed another log before");
        }
        self.log == log
    }
}

/// Keeps what is known in the file.
pub(in crate::store::kurrentdb) struct KnownLogKeeper {
    path: PathBuf,
    known: Arc<KnownHistory>,
    /// What the file says. Held while it is written.
    written: Mutex<KnownLog>,
}

/// Reads the file. One that cannot be read is as if it were not there: it only makes a loss noticed.
pub(in crate::store::kurrentdb) fn read(directory: &Path) -> Option<KnownLog> {
    let path = directory.join(NAME);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        text => text,
    };
    let read = text.map_err(|error| error.to_string());
    let known = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    let ignored = |error: &String| {
        tracing::error!(error, file = %path.display(),
            "it cannot be read: whether the log lost events while this node was away is not checked");
    };
    known.inspect_err(ignored).ok()
}

impl KnownLogKeeper {
    /// Goes on with records that are in the log.
    pub(in crate::store::kurrentdb) fn new(
        directory: &Path,
        log: Uuid,
        known: Arc<KnownHistory>,
        records: EndTrail,
    ) -> Self {
        let written = Mutex::new(KnownLog { log, epoch: known.epoch().0, records });
        Self { path: directory.join(NAME), known, written }
    }

    /// Writes the file. This blocks.
    pub(in crate::store::kurrentdb) fn write(&self) {
        let (position, id) = self.known.newest();
        let newest = (Position::from_u64(position), EventId::from_uuid(id));
        let mut written = self.written.lock();
        written.records.extend(vec![newest]);
        let text = serde_json::to_vec(&*written).unwrap_or_default();
        if let Err(error) = durable_file::replace(&self.path, &text) {
            tracing::error!(%error, file = %self.path.display(), "the newest known event is not kept");
        }
    }

    /// Writes whenever the log has grown, at a bounded rate, for ever.
    pub(in crate::store::kurrentdb) async fn run(self: Arc<Self>) {
        let mut written = None;
        loop {
            let newest = self.known.newest();
            if written != Some(newest) {
                let keeper = Arc::clone(&self);
                if tokio::task::spawn_blocking(move || keeper.write()).await.is_err() {
                    return;
                }
                written = Some(newest);
            }
            sleep(timing::POLL).await;
        }
    }
}
