//! What this node knows of the log, kept over its restart in a small file: which log it is, its epoch, events that are in
//! it, and the server that had it. A node that starts on a log without these events begins a new epoch, see
//! [`epoch_change`](super::epoch_change).
//!
//! The file is written twice a second while the log grows, and when the store is closed. A node that is killed may
//! leave a file that names an older event than it knew: when a failover then loses only what is newer than that, this node
//! does not notice it by itself; a node that knew the lost events does.

use std::{fs, io::ErrorKind, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{end_trail::EndTrail, known_end::KnownEnd};
use crate::{
    durable_file,
    postgres::{SeenServer, ServerIdentity, timing},
    store::{Epoch, feed::LogFeed},
};

/// The file in the data directory.
const NAME: &str = "log.known";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::store::postgres) struct KeptEnd {
    /// The first epoch of the log, which names it.
    pub(in crate::store::postgres) log: u64,
    pub(in crate::store::postgres) epoch: u64,
    pub(in crate::store::postgres) server: Option<ServerIdentity>,
    pub(in crate::store::postgres) events: EndTrail,
}

/// Keeps what is known, in memory and in the file.
pub(in crate::store::postgres) struct EndKeeper {
    path: Option<PathBuf>,
    log: Epoch,
    known: Arc<KnownEnd>,
    seen: Arc<SeenServer>,
    feed: Arc<LogFeed>,
    trail: Mutex<EndTrail>,
    /// What the file says. Held while it is written.
    written: Mutex<Option<KeptEnd>>,
}

/// Where the file is.
pub(in crate::store::postgres) fn path(directory: Option<&PathBuf>) -> Option<PathBuf> {
    directory.map(|directory| directory.join(NAME))
}

/// Reads the file. One that cannot be read is as if it were not there: it only makes a loss noticed.
pub(in crate::store::postgres) fn read(path: Option<&PathBuf>) -> Option<KeptEnd> {
    let path = path?;
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        text => text,
    };
    let read = text.map_err(|error| error.to_string());
    let kept = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
    let ignored = |error: &String| {
        tracing::error!(error, file = %path.display(),
            "it cannot be read: whether the log lost events while this node was away is not checked");
    };
    kept.inspect_err(ignored).ok()
}

impl EndKeeper {
    pub(in crate::store::postgres) fn new(
        path: Option<PathBuf>,
        log: Epoch,
        (known, feed): (&Arc<KnownEnd>, &Arc<LogFeed>),
        seen: &Arc<SeenServer>,
        trail: EndTrail,
    ) -> Self {
        let (known, feed, seen) = (Arc::clone(known), Arc::clone(feed), Arc::clone(seen));
        Self { path, log, known, feed, seen, trail: Mutex::new(trail), written: Mutex::default() }
    }

    /// Events that are known to be in the log.
    pub(in crate::store::postgres) fn trail(&self) -> EndTrail {
        let mut trail = self.trail.lock();
        let ((position, id), newest) = (self.known.newest(), trail.newest());
        if newest.is_none_or(|(newest, _)| newest < position) {
            trail.extend(self.feed.recent());
            trail.extend(id.map(|id| (position, id)).into_iter().collect());
        }
        trail.clone()
    }

    /// Writes the file, if it is not there or something has changed. This blocks.
    pub(in crate::store::postgres) fn write(&self) {
        let (log, epoch, server) = (self.log.0, self.known.epoch().0, self.seen.identity());
        let mut written = self.written.lock();
        let now = KeptEnd { log, epoch, server, events: self.trail() };
        if written.as_ref() == Some(&now) {
            return;
        }
        if let Some(path) = &self.path {
            let text = serde_json::to_vec(&now).unwrap_or_default();
            if let Err(error) = durable_file::replace(path, &text) {
                tracing::error!(%error, file = %path.display(), "the newest known event is not kept");
                return;
            }
        }
        *written = Some(now);
    }

    /// Writes at a bounded rate, for ever.
    pub(in crate::store::postgres) async fn run(self: Arc<Self>) {
        loop {
            let keeper = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || keeper.write()).await.is_err() {
                return;
            }
            tokio::time::sleep(timing::KEEP).await;
        }
    }
}
