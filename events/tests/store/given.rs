//! A store to test, and helpers that the tests are written with.
//!
//! Events are named by numbers: number 7 has the id 7 and says so in its data, so that a test reads
//! back what it appended as a list of numbers.

use std::{
    collections::BTreeMap, fs, future::Future, ops::RangeInclusive, path::Path, sync::Arc, time::Duration,
};

#[cfg(feature = "kurrentdb")]
use amoiq_events::store::kurrentdb::{KurrentOptions, KurrentStore};
use amoiq_events::{
    Ambient, EventId, EventLog, EventStore, NewEvent, Position, RecordedEvent, SessionId, StreamName,
    TenantId, Timestamp, Version,
    store::{
        AppendError, AppendReceipt, ExpectedVersion, LogReader, LogSubscription, ReadDirection,
        memory::MemoryStore,
        postgres::{PostgresOptions, PostgresStore},
        sqlite::SqliteStore,
    },
};
#[cfg(feature = "kurrentdb")]
use amoiq_testkit::KurrentServer;
use amoiq_testkit::PostgresServer;
use tempfile::TempDir;
use uuid::Uuid;

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A store, and where it keeps its log.
pub(crate) struct Given {
    store: Option<Arc<dyn EventStore>>,
    kept: KeptLog,
}

/// What is left of a store that is closed.
enum KeptLog {
    /// Nothing.
    Memory,
    /// Files.
    Directory(TempDir),
    /// A schema of a server.
    Schema(PostgresOptions),
    /// A log of a server, which may have to be kept.
    #[cfg(feature = "kurrentdb")]
    Kurrent { options: KurrentOptions, _server: Option<KurrentServer> },
}

/// Names a real server for the tests of the log in KurrentDB: `esdb://…`.
#[cfg(feature = "kurrentdb")]
const REAL_SERVER: &str = "AMOIQ_TEST_KURRENTDB";

impl Given {
    pub(crate) fn memory() -> Self {
        Self { store: Some(Arc::new(MemoryStore::new())), kept: KeptLog::Memory }
    }

    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the store");
        let store = open(directory.path());
        Self { store: Some(Arc::new(store)), kept: KeptLog::Directory(directory) }
    }

    pub(crate) fn postgres() -> Self {
        let server = PostgresServer::shared();
        let options =
            PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(&server.address()) };
        let store = connect(&options);
        Self { store: Some(Arc::new(store)), kept: KeptLog::Schema(options) }
    }

    #[cfg(feature = "kurrentdb")]
    pub(crate) fn kurrentdb() -> Self {
        let (options, server) = new_kurrent_log();
        let store = connect_kurrent(&options);
        Self { store: Some(Arc::new(store)), kept: KeptLog::Kurrent { options, _server: server } }
    }

    pub(crate) fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(self.store.as_ref().expect("the store is open"))
    }

    /// Closes the store; nobody else may hold it any more.
    pub(crate) fn close(&mut self) {
        let store = self.store.take().expect("the store is open");
        assert_eq!(Arc::strong_count(&store), 1, "somebody still holds the store");
    }

    /// Closes and opens the store. The store in memory stays as it is.
    pub(crate) fn reopen(&mut self) {
        match &self.kept {
            KeptLog::Memory => {}
            KeptLog::Directory(directory) => {
                self.store = None;
                self.store = Some(Arc::new(open(directory.path())));
            }
            KeptLog::Schema(options) => {
                self.store = None;
                self.store = Some(Arc::new(connect(options)));
            }
            #[cfg(feature = "kurrentdb")]
            KeptLog::Kurrent { options, .. } => {
                self.store = None;
                self.store = Some(Arc::new(connect_kurrent(options)));
            }
        }
    }

    /// Continues as after a crash at this moment: with the files as they are, or as another process that opens the log.
    pub(crate) fn crash(&mut self) {
        match &self.kept {
            KeptLog::Memory => {}
            KeptLog::Directory(directory) => {
                let crashed = copy(directory.path());
                self.store = Some(Arc::new(open(crashed.path())));
                self.kept = KeptLog::Directory(crashed);
            }
            KeptLog::Schema(options) => self.store = Some(Arc::new(connect(options))),
            #[cfg(feature = "kurrentdb")]
            KeptLog::Kurrent { options, .. } => self.store = Some(Arc::new(connect_kurrent(options))),
        }
    }

    pub(crate) async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedVersion,
        numbers: RangeInclusive<u64>,
    ) -> Result<AppendReceipt, AppendError> {
        within(self.store().append(stream.clone(), expected, events(numbers))).await
    }

    /// Appends events, which has to succeed.
    pub(crate) async fn has(&self, stream: &StreamName, numbers: RangeInclusive<u64>) -> AppendReceipt {
        self.append(stream, ExpectedVersion::Any, numbers).await.expect("appended")
    }

    /// Appends this many events, in as few appends as possible.
    pub(crate) async fn has_many(&self, stream: &StreamName, numbers: RangeInclusive<u64>) {
        let (mut first, last) = numbers.into_inner();
        while first <= last {
            let end = last.min(first + 999);
            self.has(stream, first..=end).await;
            first = end + 1;
        }
    }

    pub(crate) async fn read(
        &self,
        stream: &StreamName,
        from: u64,
        direction: ReadDirection,
        limit: usize,
    ) -> Vec<RecordedEvent> {
        let read = self.store().read_stream(stream.clone(), Version::from_u64(from), direction, limit);
        within(read).await.expect("read")
    }

    /// The numbers of a stream's events, from the first on.
    pub(crate) async fn numbers_of(&self, stream: &StreamName) -> Vec<u64> {
        numbers(&self.read(stream, 1, ReadDirection::Forward, usize::MAX).await)
    }

    pub(crate) async fn truncate(&self, stream: &StreamName, before: u64) {
        within(self.store().truncate(stream.clone(), Version::from_u64(before))).await.expect("truncated");
    }

    pub(crate) async fn delete(&self, stream: &StreamName) {
        within(self.store().delete(stream.clone())).await.expect("deleted");
    }

    pub(crate) async fn log(&self) -> Vec<RecordedEvent> {
        whole_log(&*self.store()).await
    }

    /// What must hold of every log: see [`assert_whole`].
    pub(crate) async fn assert_whole(&self) {
        if let Some(store) = &self.store {
            assert_whole(&**store).await;
        }
    }
}

/// Opens the embedded store in a directory. A process that another test starts at this moment holds the lock until it has
/// become another program.
pub(crate) fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open_within(directory, &Ambient::system(), Duration::from_secs(5)).expect("the store opens")
}

/// Opens a log in PostgreSQL.
pub(crate) fn connect(options: &PostgresOptions) -> PostgresStore {
    PostgresStore::open(options, &Ambient::system()).expect("the store opens")
}

/// A log of its own in a KurrentDB, on a server that ends with the test unless a real one is named.
#[cfg(feature = "kurrentdb")]
pub(crate) fn new_kurrent_log() -> (KurrentOptions, Option<KurrentServer>) {
    let (address, server) = match std::env::var(REAL_SERVER) {
        Ok(address) => (address, None),
        Err(_unset) => {
            let server = KurrentServer::start();
            (server.address(), Some(server))
        }
    };
    (KurrentOptions { log: KurrentServer::new_log(), ..KurrentOptions::new(&address) }, server)
}

/// Opens a log in KurrentDB.
#[cfg(feature = "kurrentdb")]
pub(crate) fn connect_kurrent(options: &KurrentOptions) -> KurrentStore {
    KurrentStore::open(options, &Ambient::system()).expect("the store opens")
}

/// The files as a crash would leave them.
pub(crate) fn copy(directory: &Path) -> TempDir {
    let crashed = tempfile::tempdir().expect("a directory");
    for name in ["log.db", "log.db-wal", "log.witness"] {
        if directory.join(name).exists() {
            fs::copy(directory.join(name), crashed.path().join(name)).expect("copied");
        }
    }
    crashed
}

/// All events, read in pages.
pub(crate) async fn whole_log(store: &dyn EventLog) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    let mut pages = LogReader::all(store, Position::START);
    while let Some(page) = within(pages.next_page()).await.expect("read") {
        events.extend(page);
    }
    events
}

/// Positions rise, versions of a stream have no gap, and reading a stream gives what the log has.
pub(crate) async fn assert_whole(store: &dyn EventLog) {
    let events = whole_log(store).await;
    assert!(events.is_sorted_by(|one, next| one.position < next.position), "positions rise");
    assert!(events.last().is_none_or(|last| last.position <= store.head()), "the head is not behind");
    let mut streams: BTreeMap<StreamName, Vec<RecordedEvent>> = BTreeMap::new();
    for event in events {
        streams.entry(event.stream.clone()).or_default().push(event);
    }
    for (stream, events) in streams {
        let gapless = |one: &RecordedEvent, next: &RecordedEvent| one.version.plus(1) == next.version;
        assert!(events.is_sorted_by(gapless), "versions of {stream} have no gap");
        let mut read = Vec::new();
        let mut pages = LogReader::stream(store, stream.clone(), Version::NONE).with_page_events(700);
        while let Some(page) = within(pages.next_page()).await.expect("read") {
            read.extend(page);
        }
        assert_eq!(read, events, "{stream} reads as the log has it");
    }
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("done before the deadline")
}

/// The next `count` events of a subscription.
pub(crate) async fn take(subscription: &mut LogSubscription, count: usize) -> Vec<RecordedEvent> {
    let mut events = Vec::with_capacity(count);
    while events.len() < count {
        let batch = within(subscription.next()).await.expect("read").expect("the store is open");
        events.extend_from_slice(&batch.events);
    }
    events
}

pub(crate) fn stream(session: &str) -> StreamName {
    let tenant = TenantId::parse("acme").expect("an id");
    StreamName::session(&tenant, &SessionId::parse(session).expect("an id"))
}

pub(crate) fn event(number: u64) -> NewEvent {
    NewEvent {
        id: EventId::from_uuid(Uuid::from_u128(number.into())),
        kind: "message.created".into(),
        schema: 1,
        time: Timestamp::from_millis(1_700_000_000_000),
        causation: "request".into(),
        actor: "key".into(),
        data: format!(r#"{{"number":{number}}}"#).into_bytes().into(),
    }
}

pub(crate) fn events(numbers: RangeInclusive<u64>) -> Vec<NewEvent> {
    numbers.map(event).collect()
}

/// The numbers that [`event`] gave these.
pub(crate) fn numbers(events: &[RecordedEvent]) -> Vec<u64> {
    let number = |event: &RecordedEvent| {
        let number = u128::from_be_bytes(*event.event.id.as_bytes());
        u64::try_from(number).expect("a number of this test")
    };
    events.iter().map(number).collect()
}

pub(crate) fn versions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.version.as_u64()).collect()
}
