//! A log is filled with the events of another one: also after an interruption, and while streams are truncated.

use std::sync::Arc;

use amoiq_events::{
    Ambient, EventId, NewEvent, Position, RecordedEvent, Version,
    postgres::PostgresOptions,
    store::{
        Epoch, EventLog, EventStore, ExpectedVersion, LogMaintenance, LogReader, ReadDirection, ReadError,
        memory::MemoryStore,
        postgres::{PostgresStore, filling::PostgresFilling},
        sqlite::{ReadOnlyStore, SqliteFilling, StoreFiles},
        transfer::{
            filling::{FillingError, LogFilling},
            log_copy::{LogCopyError, compare_logs, copy_events},
            log_export::export_log,
            position_map::PositionMap,
        },
    },
};
use amoiq_testkit::PostgresServer;
use tempfile::TempDir;
use uuid::Uuid;

use crate::given::{event, events, stream, whole_log};

/// A backend that can be filled again and again.
trait FillableBackend {
    fn begin(&self, source: Epoch) -> Result<Box<dyn LogFilling + '_>, String>;
    fn open(&self) -> Result<Arc<dyn EventStore>, String>;

    /// Whether events have the positions that they had.
    fn keeps_positions(&self) -> bool {
        true
    }
}

struct InFiles(TempDir);

struct InDatabase(PostgresOptions);

impl FillableBackend for InFiles {
    fn begin(&self, source: Epoch) -> Result<Box<dyn LogFilling + '_>, String> {
        let begun =
            SqliteFilling::begin(StoreFiles::new(self.0.path(), &[]), &Ambient::system(), Some(source));
        begun.map(|filling| Box::new(filling) as _).map_err(|error| error.to_string())
    }

    fn open(&self) -> Result<Arc<dyn EventStore>, String> {
        ReadOnlyStore::open(self.0.path())
            .map(|store| Arc::new(store) as _)
            .map_err(|error| error.to_string())
    }
}

impl FillableBackend for InDatabase {
    fn begin(&self, source: Epoch) -> Result<Box<dyn LogFilling + '_>, String> {
        let begun = PostgresFilling::begin(&self.0, &Ambient::system(), Some(source));
        begun.map(|filling| Box::new(filling) as _).map_err(|error| error.to_string())
    }

    fn open(&self) -> Result<Arc<dyn EventStore>, String> {
        let opened = PostgresStore::open_existing(&self.0);
        opened.map(|store| Arc::new(store) as _).map_err(|error| error.to_string())
    }
}

#[cfg(feature = "kurrentdb")]
struct InKurrent(amoiq_events::store::kurrentdb::KurrentOptions);

#[cfg(feature = "kurrentdb")]
impl FillableBackend for InKurrent {
    fn begin(&self, source: Epoch) -> Result<Box<dyn LogFilling + '_>, String> {
        use amoiq_events::store::kurrentdb::filling::KurrentFilling;
        let begun = KurrentFilling::begin(&self.0, &Ambient::system(), Some(source));
        begun.map(|filling| Box::new(filling) as _).map_err(|error| error.to_string())
    }

    fn open(&self) -> Result<Arc<dyn EventStore>, String> {
        use amoiq_events::store::kurrentdb::KurrentStore;
        let opened = KurrentStore::open_existing(&self.0, &Ambient::system());
        opened.map(|store| Arc::new(store) as _).map_err(|error| error.to_string())
    }

    fn keeps_positions(&self) -> bool {
        false
    }
}

#[cfg(feature = "kurrentdb")]
fn in_kurrent() -> Box<dyn FillableBackend> {
    use amoiq_testkit::KurrentServer;
    let options = amoiq_events::store::kurrentdb::KurrentOptions::new(&KurrentServer::shared().address());
    Box::new(InKurrent(amoiq_events::store::kurrentdb::KurrentOptions {
        log: KurrentServer::new_log(),
        ..options
    }))
}

fn backends() -> Vec<Box<dyn FillableBackend>> {
    let server = PostgresServer::shared();
    let options = PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(&server.address()) };
    vec![
        Box::new(InFiles(tempfile::tempdir().expect("a directory"))),
        Box::new(InDatabase(options)),
        #[cfg(feature = "kurrentdb")]
        in_kurrent(),
    ]
}

/// Events without their positions.
fn without_positions(mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    events.iter_mut().for_each(|event| event.position = Position::START);
    events
}

/// 1,500 events in three streams, of which one starts late; and positions that are not dense.
async fn source() -> MemoryStore {
    let source = MemoryStore::new();
    for (number, name) in (0..1_500).zip(["a", "b", "c"].into_iter().cycle()) {
        let stream = stream(name);
        // A real id: files are verified.
        let id = EventId::from_uuid(Uuid::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number),
        ));
        let appended = NewEvent { id, ..event(number) };
        source.append(stream, ExpectedVersion::Any, vec![appended]).await.expect("appended");
    }
    source.truncate(stream("b"), Version::from_u64(20)).await.expect("truncated");
    source
}

async fn first_page(source: &MemoryStore) -> Vec<RecordedEvent> {
    LogReader::all(source, Position::START).next_page().await.expect("read").expect("events")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_filling_goes_on_and_no_log_is_there_before_its_end() {
    let source = source().await;
    for backend in backends() {
        let page = first_page(&source).await;
        let mut filling = backend.begin(source.epoch()).expect("begun");
        filling.add(&page).expect("added");
        let (reached, epoch) = (filling.reached(), filling.epoch());
        assert_eq!(Some(reached), page.last().map(|event| event.position));
        drop(filling);
        assert!(backend.open().is_err(), "it is not complete");

        let mut filling = backend.begin(source.epoch()).expect("begun again");
        assert_eq!((filling.reached(), filling.epoch()), (reached, epoch));
        copy_events(&source, source.head(), &mut *filling, &mut |_| ()).await.expect("copied");
        let copy = filling.reader().expect("a reader");
        let mut map = PositionMap::default();
        let mut each = |from, to| map.observe(from, to);
        let sum = compare_logs((&source, source.head()), &*copy, &mut |_| (), &mut each).await;
        assert_eq!(sum.expect("the same").events, 1_481);
        assert_eq!(map.is_renumbered(), !backend.keeps_positions());
        drop(copy);
        assert!(backend.open().is_err(), "it is not complete");
        filling.finish(&mut |_| ()).expect("complete");

        let log = backend.open().expect("the log");
        let (copied, original) = (whole_log(&*log).await, whole_log(&source).await);
        assert_eq!(
            (without_positions(copied.clone()), log.epoch()),
            (without_positions(original.clone()), epoch)
        );
        assert_eq!(copied == original, backend.keeps_positions());
        let late = log.read_stream(stream("b"), Version::FIRST, ReadDirection::Forward, 1);
        assert_eq!(late.await.expect("read")[0].version, Version::from_u64(20));
        drop(log);
        assert!(backend.begin(source.epoch()).is_err(), "it is not empty");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filling_from_another_log_starts_anew() {
    let source = source().await;
    for backend in backends() {
        let page = first_page(&source).await;
        let mut filling = backend.begin(Epoch(1)).expect("begun");
        filling.add(&page).expect("added");
        drop(filling);
        let filling = backend.begin(Epoch(2)).expect("begun anew");
        assert_eq!(filling.reached(), Position::START);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_do_not_follow_are_refused_together_with_those_beside_them() {
    let source = source().await;
    for backend in backends() {
        let page = first_page(&source).await;
        let mut filling = backend.begin(source.epoch()).expect("begun");
        filling.add(&page[..10]).expect("added");
        let gap = [&page[10..20], &page[30..40]].concat();
        assert!(matches!(filling.add(&gap), Err(FillingError::Misfit { index: 10, .. })));
        assert_eq!(filling.reached(), page[9].position);
        filling.discard().expect("removed");
        assert_eq!(backend.begin(source.epoch()).expect("begun").reached(), Position::START);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_the_same_is_told_apart() {
    let (source, other) = (source().await, MemoryStore::new());
    for page in [events(1..=3), events(4..=4)] {
        other.append(stream("a"), ExpectedVersion::Any, page).await.expect("appended");
    }
    let compared = compare_logs((&source, source.head()), &other, &mut |_| (), &mut |_, _| ()).await;
    assert!(matches!(compared, Err(LogCopyError::Difference { same: 0, .. })), "{compared:?}");
    let less = compare_logs((&other, Position::START), &other, &mut |_| (), &mut |_, _| ()).await;
    assert!(matches!(less, Err(LogCopyError::Difference { same: 0, .. })), "{less:?}");
    let same =
        compare_logs((&other, other.head()), &other, &mut |_| (), &mut |_, _| ()).await.expect("the same");
    assert_eq!((same.events, same.checksum.len()), (4, 64));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_leaves_out_what_was_truncated_while_it_ran() {
    let source = Arc::new(source().await);
    let (truncated_on, mut exported) = (Arc::clone(&source), Vec::new());
    let mut each = |event: &RecordedEvent| {
        exported.push(event.clone());
        // More than a page is still to come.
        if exported.len() == 5 {
            let truncating = truncated_on.truncate(stream("a"), Version::from_u64(490));
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(truncating))
                .expect("truncated");
        }
        Ok::<_, ReadError>(())
    };
    let truncated = export_log(&*source, &mut |_| (), &mut each).await.expect("exported");
    assert!(!truncated.is_empty());
    let kept: Vec<_> = exported.into_iter().filter(|event| !truncated.has_removed(event)).collect();
    for backend in backends() {
        let mut filling = backend.begin(Epoch(1)).expect("begun");
        kept.chunks(1_000).for_each(|page| filling.add(page).expect("added"));
        filling.finish(&mut |_| ()).expect("complete");
    }
    assert_eq!(kept, whole_log(&*source).await);
}
