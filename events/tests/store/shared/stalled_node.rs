//! A node that is cut off at each step of an append, or stopped at any moment: the others go on, and nothing waits for it.

use std::{
    env,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use amoiq_events::{
    EventLog,
    store::{ExpectedVersion, postgres::PostgresOptions},
};
use amoiq_testkit::{PostgresServer, eventually};
use parking_lot::Mutex;

use super::faults::append_at_last;
use crate::given::{assert_whole, connect, events, numbers, stream, whole_log, within};

/// How long the others may take for an append while one node is stalled.
const PATIENCE: Duration = Duration::from_secs(5);

/// The messages of an append over a session that has made one before.
const MESSAGES: [u8; 3] = [b'B', b'E', b'S'];

/// Tells a process of this test which log it appends to: address and schema.
const APPENDS_TO: &str = "AMOIQ_TEST_APPENDS_TO";

/// How often a node is stopped.
const STOPS: u64 = 8;

/// Where the way to the server ends.
#[derive(Debug, Clone, Copy)]
enum CutPoint {
    /// In the middle of the message with this number.
    Within(usize),
    /// After it.
    After(usize),
}

/// Something between a node and its server that stops passing anything on, and leaves every connection open.
struct BlackHole {
    port: u16,
    shared: Arc<HoleState>,
}

#[derive(Default)]
struct HoleState {
    /// Where the next call that appends is cut.
    cut: Mutex<Option<CutPoint>>,
    /// Connections that were cut. They stay open.
    is_cut: AtomicBool,
}

impl BlackHole {
    fn before(server: &PostgresServer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (shared, server) = (Arc::<HoleState>::default(), server.port());
        let for_all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a connection");
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).expect("the server");
                let (from, to) = (server.try_clone().expect("it"), client.try_clone().expect("it"));
                thread::spawn(move || pass(from, to));
                let shared = Arc::clone(&for_all);
                thread::spawn(move || pass_messages(client, server, &shared));
            }
        });
        Self { port, shared }
    }

    fn address(&self) -> String {
        format!("postgres://amoiq@127.0.0.1:{}/postgres", self.port)
    }

    /// Cuts the next append there.
    fn cut_at(&self, cut: CutPoint) {
        self.shared.is_cut.store(false, Ordering::Relaxed);
        *self.shared.cut.lock() = Some(cut);
    }

    fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::Relaxed)
    }
}

/// Passes bytes on until one side ends.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Both));
}

/// Passes a client's messages on, up to the point where an append is to be cut.
fn pass_messages(mut client: TcpStream, mut server: TcpStream, shared: &HoleState) {
    let mut is_started = false;
    // How many messages of an append were passed on.
    let mut passed = 0;
    while let Some((kind, message)) = read_message(&mut client, is_started) {
        is_started = true;
        // The values of an append are the only ones of this size.
        let is_next = if kind == MESSAGES[0] { message.len() > 1_000 } else { passed > 0 };
        if is_next && kind == MESSAGES[passed] {
            let cut = *shared.cut.lock();
            let part = match cut {
                Some(CutPoint::Within(at)) if at == passed => Some(message.len() / 2),
                Some(CutPoint::After(at)) if at == passed => Some(message.len()),
                _ => None,
            };
            if let Some(part) = part {
                drop(server.write_all(&message[..part]));
                *shared.cut.lock() = None;
                shared.is_cut.store(true, Ordering::Relaxed);
                // Whatever the client sends or closes, the server hears nothing.
                drop(std::io::copy(&mut client, &mut std::io::sink()));
                thread::sleep(Duration::from_secs(60));
                return;
            }
            passed = (passed + 1) % MESSAGES.len();
        }
        if server.write_all(&message).is_err() {
            break;
        }
    }
    drop(server.shutdown(Shutdown::Both));
}

/// One message of a client and its kind; the first has none.
fn read_message(client: &mut TcpStream, has_kind: bool) -> Option<(u8, Vec<u8>)> {
    let mut message = vec![0; if has_kind { 5 } else { 4 }];
    client.read_exact(&mut message).ok()?;
    let kind = if has_kind { message[0] } else { 0 };
    let start = message.len() - 4;
    let length = u32::from_be_bytes(message[start..].try_into().ok()?);
    let mut rest = vec![0; usize::try_from(length).ok()? - 4];
    client.read_exact(&mut rest).ok()?;
    message.extend(rest);
    Some((kind, message))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_a_node_that_is_cut_off_at_any_step_of_an_append() {
    let server = PostgresServer::shared();
    let hole = BlackHole::before(server);
    let schema = server.new_schema();
    let open =
        |address: &str| connect(&PostgresOptions { schema: schema.clone(), ..PostgresOptions::new(address) });
    let (stalled, other) = (open(&hole.address()), open(&server.address()));
    let mut number = 0;
    let steps = (0..MESSAGES.len()).flat_map(|at| [CutPoint::Within(at), CutPoint::After(at)]);
    for cut in steps {
        number += 1;
        append_at_last(&stalled, number).await;
        hole.cut_at(cut);
        number += 1;
        let mut large = events(number..=number);
        large[0].data = vec![b'x'; 4_000].into();
        let appending = stalled.append(stream("a"), ExpectedVersion::Any, large.clone());
        let appending = tokio::spawn(within(appending));
        eventually("the append is cut off", || hole.is_cut());
        let cut_off = Instant::now();
        while cut_off.elapsed() < Duration::from_secs(4) {
            number += 1;
            let appending = append_at_last(&other, number);
            let appended = tokio::time::timeout(PATIENCE, appending).await;
            appended
                .unwrap_or_else(|_late| panic!("the other node waits for one that is cut off at {cut:?}"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The way is open again for a new connection, and the same ids tell what became of it.
        appending.await.expect("appended").expect("a repeat is acknowledged");
    }
    let mut all = numbers(&whole_log(&other).await);
    assert_eq!(numbers(&whole_log(&stalled).await), all);
    all.sort_unstable();
    assert_eq!(all, (1..=number).collect::<Vec<_>>(), "once each");
}

/// A node in a process of its own.
struct NodeProcess(Child);

impl NodeProcess {
    fn start(options: &PostgresOptions) -> Self {
        let mut node = Command::new(env::current_exe().expect("this program"));
        node.args(["--exact", "shared::stalled_node::a_node_appends_until_it_is_killed"]);
        node.env(APPENDS_TO, format!("{} {}", options.address, options.schema));
        Self(node.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The other process of the next test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_appends_until_it_is_killed() {
    let Ok(log) = env::var(APPENDS_TO) else { return };
    let (address, schema) = log.split_once(' ').expect("address and schema");
    let store = connect(&PostgresOptions { schema: schema.to_owned(), ..PostgresOptions::new(address) });
    for group in 0.. {
        let first = 1_000_000 + group * 50;
        let appends: Vec<_> = (first..first + 50)
            .map(|number| store.append(stream("stopped"), ExpectedVersion::Any, events(number..=number)))
            .collect();
        for append in appends {
            drop(within(append).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_waits_for_a_node_that_is_stopped_at_any_moment() {
    let server = PostgresServer::shared();
    let options = PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(&server.address()) };
    let other = connect(&options);
    let node = NodeProcess::start(&options);
    let mut number = 0;
    for stop in 0..STOPS {
        let before = other.head();
        eventually("the node appends", || other.head() > before);
        // Not in step with its appends.
        tokio::time::sleep(Duration::from_micros(stop * 377)).await;
        node.signal("-STOP");
        let stopped = Instant::now();
        while stopped.elapsed() < Duration::from_secs(2) {
            number += 1;
            let appended = tokio::time::timeout(PATIENCE, append_at_last(&other, number)).await;
            appended.expect("the other node does not wait");
        }
        node.signal("-CONT");
    }
    drop(node);
    assert_whole(&other).await;
    let mut all = numbers(&whole_log(&other).await);
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "once each");
    assert!(all.iter().copied().take_while(|event| *event < 1_000_000).eq(1..=number));
}
