//! The inbox: run live on a thread and a database of its own, and rebuilt.

use std::{collections::BTreeMap, path::Path, sync::Arc, thread, time::Duration};

use amoiq_actors::{
    inbox::InboxProjection,
    projections::{Projection, Projector, ViewGeneration, ViewStore, ViewTables},
};
use amoiq_events::{EventLog, Position, RecordedEvent, store::memory::MemoryStore, stream::StreamKind};
use amoiq_testkit::stores::SeededDice;
use rusqlite::{Connection, types::Value};
use tempfile::TempDir;
use tokio::{runtime, sync::oneshot, task::LocalSet};

use crate::witness::{State, Witness};

/// How long the projection may take to reach the log's end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tables into which a check folds.
const TABLES: ViewTables = ViewTables::new(1, InboxProjection::VERSION);

/// The projection, running beside a simulation whose clock jumps: this one's does not.
pub(crate) struct LiveInbox {
    directory: TempDir,
    store: MemoryStore,
    /// Asks it to reach a position and then to end. When dropped, it ends at once.
    end: oneshot::Sender<Position>,
    thread: thread::JoinHandle<()>,
}

impl LiveInbox {
    pub(crate) fn start(store: &MemoryStore) -> Self {
        Self::go_on(tempfile::tempdir().expect("a directory"), store.clone())
    }

    fn go_on(directory: TempDir, store: MemoryStore) -> Self {
        let (end, asked) = oneshot::channel();
        let (path, log) = (file(&directory), store.clone());
        let thread = thread::spawn(move || project(&path, log, asked));
        Self { directory, store, end, thread }
    }

    /// Ends it wherever it is, and continues from its checkpoint.
    pub(crate) fn crash(self) -> Self {
        drop(self.end);
        self.thread.join().expect("the projection runs");
        Self::go_on(self.directory, self.store)
    }

    /// The tables, once they contain the whole log.
    fn dump(self) -> Vec<String> {
        self.end.send(self.store.head()).expect("the projection runs");
        self.thread.join().expect("the projection reaches the log's end");
        let conn = Connection::open(file(&self.directory)).expect("views.db");
        let serving = ViewGeneration::serving(&conn, InboxProjection::NAME).expect("a catalogue");
        dump(&conn, serving.expect("tables that serve").tables)
    }
}

fn file(directory: &TempDir) -> Box<Path> {
    directory.path().join("views.db").into()
}

fn project(path: &Path, store: MemoryStore, asked: oneshot::Receiver<Position>) {
    let runtime = runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let views = ViewStore::open(path).expect("views.db");
        let store: Arc<dyn EventLog> = Arc::new(store);
        let progress = Projector::<InboxProjection>::start(&views, &store);
        if let Ok(end) = asked.await {
            progress.reach(end, PATIENCE).await.expect("the projection reaches the log's end");
        }
    });
}

/// The projection is the same however it was built, and equals the log.
pub(crate) fn check(witness: &Witness, dice: &SeededDice, live: Option<LiveInbox>) {
    let mut conn = Connection::open_in_memory().expect("a database");
    let reset = conn.transaction().expect("a transaction");
    InboxProjection::create(&reset, TABLES).expect("new tables");
    reset.commit().expect("new tables");
    fold(&mut conn, &witness.log);
    let at_once = dump(&conn, TABLES);
    assert_eq!(summary(&conn), expected(witness), "the inbox says what the log says");

    // From a checkpoint again, in other batches: events that come twice change nothing.
    let mut rest = witness.log.as_slice();
    rest = rest.split_at(usize::try_from(dice.below(rest.len() as u64 + 1)).expect("an index")).1;
    while !rest.is_empty() {
        let size = usize::try_from(1 + dice.below(10)).expect("a small number").min(rest.len());
        let (batch, others) = rest.split_at(size);
        fold(&mut conn, batch);
        rest = others;
    }
    assert_eq!(dump(&conn, TABLES), at_once, "folding twice changed the inbox");
    if let Some(live) = live {
        assert_eq!(live.dump(), at_once, "the live inbox is not the one built from nothing");
    }
}

fn fold(conn: &mut Connection, events: &[RecordedEvent]) {
    let transaction = conn.transaction().expect("a transaction");
    let mut changes = InboxProjection::default();
    for event in events {
        changes.fold(&transaction, TABLES, event).expect("a fold");
    }
    changes.store(&transaction, TABLES).expect("a fold");
    transaction.commit().expect("a fold");
}

/// Every column of every row.
fn dump(conn: &Connection, tables: ViewTables) -> Vec<String> {
    let rows = |sql: &str| {
        let mut statement = conn.prepare(sql).expect("a table");
        let columns = statement.column_count();
        let row = statement.query_map([], move |row| {
            let values: Result<Vec<Value>, _> = (0..columns).map(|column| row.get(column)).collect();
            values.map(|values| format!("{values:?}"))
        });
        row.expect("rows").collect::<Result<Vec<_>, _>>().expect("rows")
    };
    let (inbox, users) = (tables.name("inbox"), tables.name("inbox_users"));
    let inbox = rows(&format!("SELECT * FROM {inbox} ORDER BY tenant, session"));
    let users = rows(&format!("SELECT * FROM {users} ORDER BY tenant, user_id, session"));
    let conversations = tables.name("inbox_conversations");
    let conversations = rows(&format!("SELECT * FROM {conversations} ORDER BY tenant, conversation"));
    inbox.into_iter().chain(users).chain(conversations).collect()
}

/// Of each session: its messages, whether it is open, and its verified user.
type Summary = BTreeMap<(String, String), (u32, bool, Option<String>)>;

fn summary(conn: &Connection) -> Summary {
    let sql = format!(
        "SELECT tenant, session, messages, is_open, (SELECT group_concat(user_id) FROM {}
        WHERE tenant = inbox.tenant AND session = inbox.session AND verified > 0) FROM {} AS inbox",
        TABLES.name("inbox_users"),
        TABLES.name("inbox")
    );
    let mut statement = conn.prepare(&sql).expect("the table");
    let rows = statement
        .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?, row.get(4)?))));
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

fn expected(witness: &Witness) -> Summary {
    let sessions = witness.sessions.iter().map(|(stream, lines)| {
        let mut state = State::default();
        lines.iter().for_each(|line| state.apply(line));
        let Some(StreamKind::Session(tenant, session)) = stream.kind() else { panic!("{stream}") };
        let owner = state.owner.map(|owner| owner.as_str().to_owned());
        let messages = u32::try_from(state.messages.len()).expect("a small number");
        let row = (messages, state.open == Some(true), owner);
        ((tenant.as_str().to_owned(), session.as_str().to_owned()), row)
    });
    sessions.collect()
}
