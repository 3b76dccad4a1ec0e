//! Finds a log in the database or makes it, and reads all of it for the index.

use std::{path::PathBuf, sync::Arc};

use tokio::time::Instant;
use uuid::Uuid;

use super::{
    connecting::{
        cluster_address::ClusterAddress,
        known_history::KnownHistory,
        log_start::{self, LogStart},
        node_call_error::NodeCallError,
        node_connection::NodeAccess,
        open_error::KurrentOpenError,
        supervisor::ConnectionSupervisor,
        timing,
        wire_requests::StreamWrite,
    },
    following::{followed_log::FollowedLog, shared_index::SharedIndex},
    history::{
        epoch_change,
        known_log::{self, KnownLogKeeper},
        log_epochs::LogEpochs,
    },
    reading::log_reads::FilteredReads,
    records::{
        log_names::LogNames,
        log_record::{EpochRecord, encode_epoch},
    },
    writing::stream_writes::StreamWrites,
};
use crate::{
    Position, RecordedEvent,
    database_thread::DatabaseThread,
    store::{Epoch, MAX_READ_EVENTS, ReadError, StoreFuture, feed::LogFeed},
};

/// Which log to open.
#[derive(Clone)]
pub struct KurrentOptions {
    /// `esdb://user:password@host:port?tls=true`, see `docs/decisions/0026-kurrentdb-log.md`.
    pub address: String,
    /// Who logs in, instead of the user in the address.
    pub user: Option<String>,
    /// Their password, as it is.
    pub password: Option<String>,
    /// The log: the streams of the database whose names start with this and a hyphen.
    pub log: String,
    /// Where this node keeps what it knows of the log. Without it, a loss while the node is away is not noticed.
    pub directory: Option<PathBuf>,
}

impl KurrentOptions {
    /// The log `amoiq`, as the user in the address.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let (address, log) = (address.to_owned(), "amoiq".to_owned());
        Self { address, user: None, password: None, log, directory: None }
    }

    /// Checks what can be checked without the database.
    ///
    /// # Errors
    /// When the address or the log's name is none.
    pub fn check(&self) -> Result<(), KurrentOpenError> {
        self.names()?;
        ClusterAddress::parse(&self.address)?;
        Ok(())
    }

    fn names(&self) -> Result<LogNames, KurrentOpenError> {
        LogNames::parse(&self.log).ok_or_else(|| KurrentOpenError::LogName(self.log.clone()))
    }
}

/// A log that was read.
pub(super) struct FoundLog {
    pub(super) supervisor: Arc<ConnectionSupervisor>,
    pub(super) reads: FilteredReads,
    pub(super) index: Arc<SharedIndex>,
    pub(super) log: Arc<FollowedLog>,
    pub(super) known: Arc<KnownHistory>,
    pub(super) epochs: LogEpochs,
    pub(super) keeper: Option<Arc<KnownLogKeeper>>,
}

/// What a log is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpeningPurpose {
    /// To use it, if it exists and is complete.
    Use,
    /// The same; one that does not exist is made with the epoch.
    UseOrMake(Epoch),
    /// To fill it.
    Fill,
}

impl FoundLog {
    /// Opens a log, on the thread of its store. If one is made, its first record gets the id.
    pub(super) async fn open(
        thread: DatabaseThread,
        options: KurrentOptions,
        purpose: OpeningPurpose,
        id: Uuid,
    ) -> Result<Self, KurrentOpenError> {
        let supervisor = connect(&options)?;
        let mut start = find_log(&supervisor, &options.log, purpose, id).await?;
        let mut kept = None;
        if let (OpeningPurpose::UseOrMake(epoch), Some(directory)) = (purpose, &options.directory) {
            kept = known_log::read(directory).filter(|kept| kept.is_of(start.id));
            if let Some(kept) = &kept {
                start = epoch_change::settle(&supervisor, start, kept, (epoch, id)).await?;
            }
        }
        let epochs = epoch_change::epochs(&supervisor).await?;
        let index = Arc::new(SharedIndex::new(supervisor.access().names.clone()));
        let known = Arc::new(KnownHistory::new(start.epoch, start.position, start.id));
        let reads = FilteredReads {
            supervisor: Arc::clone(&supervisor),
            index: Arc::clone(&index),
            start: start.position,
        };
        let for_feed = reads.clone();
        let read = move |after, limit| read_page(&thread, for_feed.clone(), after, limit);
        let feed = LogFeed::new(Position::START, Arc::new(read));
        let log = Arc::new(FollowedLog::new(Arc::clone(&index), feed, Arc::clone(&known)));
        read_whole(&reads, &log, &known).await?;
        log.open();
        supervisor.require(Arc::clone(&known));
        let keeper = match (purpose, options.directory) {
            (OpeningPurpose::UseOrMake(_), Some(directory)) => {
                let records = kept.map(|kept| epochs.still_known(kept)).unwrap_or_default();
                Some(Arc::new(KnownLogKeeper::new(&directory, start.id, Arc::clone(&known), records)))
            }
            _ => None,
        };
        Ok(Self { supervisor, reads, index, log, known, epochs, keeper })
    }
}

/// Two libraries that encrypt are in the program: the client takes the one that is the default, if there is one.
pub(super) fn choose_encryption() {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
}

/// The way to the database. Nobody is asked yet.
pub(super) fn connect(options: &KurrentOptions) -> Result<Arc<ConnectionSupervisor>, KurrentOpenError> {
    let names = options.names()?;
    let cluster = ClusterAddress::parse(&options.address)?;
    let user = options.user.clone().or_else(|| cluster.user.clone());
    let password = options.password.clone().or_else(|| cluster.password.clone()).unwrap_or_default();
    let credentials = user.map(|user| (user, password));
    Ok(Arc::new(ConnectionSupervisor::new(NodeAccess { cluster, names, credentials })))
}

/// Finds the log or makes it.
async fn find_log(
    supervisor: &Arc<ConnectionSupervisor>,
    log: &str,
    purpose: OpeningPurpose,
    id: Uuid,
) -> Result<LogStart, KurrentOpenError> {
    let deadline = || Instant::now() + timing::APPEND;
    let find =
        || supervisor.call(deadline(), |connection| async move { log_start::start(&connection).await });
    let mut found = find().await?;
    if let (None, OpeningPurpose::UseOrMake(epoch)) = (found, purpose) {
        let write = StreamWrite {
            name: supervisor.access().names.epoch(),
            next: 0,
            records: vec![encode_epoch(EpochRecord::complete(epoch), id)],
        };
        let writes = StreamWrites {
            supervisor: Arc::clone(supervisor),
            condition: Arc::default(),
            meter: Arc::default(),
        };
        match writes.write(write, deadline()).await {
            // Another node has made it.
            Ok(_) | Err(NodeCallError::Moved) => {}
            Err(error) => return Err(error.into()),
        }
        found = find().await?;
    }
    match found {
        None => Err(KurrentOpenError::NoLog(log.to_owned())),
        Some(start) if start.filling.is_some() && purpose != OpeningPurpose::Fill => {
            Err(KurrentOpenError::Unfinished(log.to_owned()))
        }
        Some(start) => Ok(start),
    }
}

/// Reads all of the log for the index.
async fn read_whole(reads: &FilteredReads, log: &FollowedLog, known: &KnownHistory) -> Result<(), ReadError> {
    loop {
        let page = reads.page(Position::from_u64(known.newest().0), MAX_READ_EVENTS).await?;
        let is_end = page.len() < MAX_READ_EVENTS;
        log.follow(page)?;
        if is_end {
            return Ok(());
        }
    }
}

fn read_page(
    thread: &DatabaseThread,
    reads: FilteredReads,
    after: Position,
    limit: usize,
) -> StoreFuture<Result<Vec<RecordedEvent>, ReadError>> {
    let reading = thread.spawn(async move { reads.after(after, limit).await });
    let ended = || ReadError::Unavailable("the store is closed".to_owned());
    Box::pin(async move { reading.await.unwrap_or_else(|_ended| Err(ended())) })
}
