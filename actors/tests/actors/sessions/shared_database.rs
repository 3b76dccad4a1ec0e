//! Two actor systems, each with a store of its own, on one log in a real PostgreSQL, that write one session as fast as they
//! can.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use amoiq_actors::sessions::{
    DirectorySettings, PageLimit, PageQuery, PageWindow, ProvenUsers, SentMessage, SessionDirectory,
    SessionError, SessionSettings,
};
use amoiq_events::{
    Ambient, Event, EventStore, MessageId, StreamName, codec,
    session::{SessionCaller, SessionEvent},
    store::{
        LogReader,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use amoiq_testkit::PostgresServer;
use tokio::task::spawn_local;

use crate::given::{cause, id, in_real_time, message, tenant};

/// How long they write.
const SPAN: Duration = Duration::from_secs(5);

/// How many messages each has underway.
const WRITERS: usize = 8;

/// The session that everybody writes.
const SESSION: &str = "contended";

/// What was acknowledged of one node: client ids, and under which message id.
type Acknowledged = BTreeMap<String, MessageId>;

#[derive(Clone)]
struct WritingNode {
    name: &'static str,
    directory: SessionDirectory,
    ambient: Ambient,
}

impl WritingNode {
    fn start(name: &'static str, store: &Arc<dyn EventStore>) -> Self {
        let settings = DirectorySettings {
            arbiters: 1,
            max_sessions: 1_000,
            max_memory_bytes: 256 * 1024 * 1024,
            passivate_after: Duration::from_secs(60),
            session: SessionSettings { max_events: 1_000_000 },
        };
        let ambient = Ambient::system();
        let directory = SessionDirectory::start_here(settings, store, &ambient, &ProvenUsers::default());
        Self { name, directory, ambient }
    }

    /// Sends one message after the other; every third is sent twice at once.
    async fn write(self, writer: usize, end: Instant) -> Acknowledged {
        let mut acknowledged = Acknowledged::new();
        for number in 0.. {
            if Instant::now() >= end {
                break;
            }
            let client_id = format!("{}-{writer}-{number}", self.name);
            let (first, second) = tokio::join!(self.send(&client_id), async {
                if number % 3 == 0 { self.send(&client_id).await } else { None }
            });
            let ids: BTreeSet<_> = first.into_iter().chain(second).collect();
            assert!(ids.len() < 2, "{client_id} is two messages");
            acknowledged.extend(ids.into_iter().map(|id| (client_id.clone(), id)));
        }
        acknowledged
    }

    async fn send(&self, client_id: &str) -> Option<MessageId> {
        let new = message(self.ambient.message_id(), client_id, client_id);
        match self.directory.send(&tenant(), &id(SESSION), new, cause()).await {
            Ok(SentMessage::Stored(stored)) => Some(stored.id),
            Ok(SentMessage::Duplicate(first)) => Some(first),
            Err(SessionError::Busy) => None,
            Err(error) => panic!("{client_id}: {error}"),
        }
    }

    async fn last_seq(&self) -> u32 {
        let query = PageQuery {
            caller: SessionCaller::Staff,
            window: PageWindow::Newest,
            limit: PageLimit::messages(1),
        };
        let (_, page) = self.directory.read(&tenant(), &id(SESSION), query).await.expect("it can be read");
        page.messages.last().map_or(0, |last| last.seq)
    }
}

#[test]
fn two_nodes_write_one_session_and_nothing_is_lost_doubled_or_out_of_order() {
    let server = PostgresServer::shared();
    let options = PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(&server.address()) };
    let together = Arc::new(Barrier::new(2));
    let nodes = ["a", "b"].map(|name| {
        let (options, together) = (options.clone(), Arc::clone(&together));
        thread::spawn(move || run_node(name, &options, &together))
    });
    let acknowledged = nodes.map(|node| node.join().expect("a node ends"));
    let counts = acknowledged.each_ref().map(BTreeMap::len);
    assert!(counts.iter().all(|count| *count >= 20), "one node keeps the other from writing: {counts:?}");
    eprintln!("messages of each node in {SPAN:?}: {counts:?}");

    let stored = in_real_time(stored_messages(&options));
    let all = acknowledged.into_iter().flatten().collect::<Acknowledged>();
    assert_eq!(stored, all, "what is stored is what was acknowledged");
}

/// Writes for a while. Returns what was acknowledged.
fn run_node(name: &'static str, options: &PostgresOptions, together: &Barrier) -> Acknowledged {
    let store = PostgresStore::open(options, &Ambient::system()).expect("the log");
    let store: Arc<dyn EventStore> = Arc::new(store);
    in_real_time(async {
        let node = WritingNode::start(name, &store);
        together.wait();
        let end = Instant::now() + SPAN;
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| spawn_local(node.clone().write(writer, end))).collect();
        let mut acknowledged = Acknowledged::new();
        for writer in writers {
            acknowledged.extend(writer.await.expect("a writer ends"));
        }
        // Whoever is first here has not seen all of the other's messages, but all of its own.
        assert!(node.last_seq().await as usize >= acknowledged.len());
        acknowledged
    })
}

/// The messages of the log, of which `seq` and versions have no gap and nothing is there twice.
async fn stored_messages(options: &PostgresOptions) -> Acknowledged {
    let store = PostgresStore::open(options, &Ambient::system()).expect("the log");
    let stream = StreamName::session(&tenant(), &id(SESSION));
    let mut events = LogReader::stream(&store, stream, amoiq_events::Version::FIRST);
    let (mut stored, mut version, mut seq) = (Acknowledged::new(), 0, 0);
    while let Some(recorded) = events.next_event().await.expect("it can be read") {
        version += 1;
        assert_eq!(recorded.version.as_u64(), version);
        if let Ok(Event::Session(SessionEvent::MessageCreated(created))) = codec::decode(&recorded) {
            seq += 1;
            assert_eq!(created.seq, seq);
            let client_id = created.client_message_id.expect("a client id").as_str().to_owned();
            assert!(stored.insert(client_id, created.message_id).is_none(), "a message is stored twice");
        }
    }
    stored
}
