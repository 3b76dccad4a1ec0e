//! A node as a process of its own: this test program, started once more. It asks for one lease all the time, and as long as
//! it believes to have it, it writes into a table, each time in a transaction that checks the lease.
//!
//! A reckless one goes on with a lease as long as the database does not refuse it, whatever its own clock says.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use amoiq_events::{
    cluster::{ClusterLeases, HeldLease, PostgresLeases},
    postgres::{CallFailure, PostgresDatabase, PostgresOptions},
};
use amoiq_testkit::PostgresServer;
use tempfile::TempDir;

use crate::given::{GivenCluster, lease, try_join};

/// What the variables of such a process start with.
const ADDRESS: &str = "AMOIQ_TEST_NODE_ADDRESS";

/// The name of its lease.
pub(crate) const WORK: &str = "work";

/// How long a write may take.
const WRITE: Duration = Duration::from_secs(5);

/// A node. It is killed when it is dropped.
pub(crate) struct ChildNode {
    process: Child,
    _directory: TempDir,
}

impl ChildNode {
    /// Starts a node, and waits until it has joined.
    pub(crate) fn start(cluster: &GivenCluster, name: &str, is_reckless: bool) -> Self {
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.args(["child_node::run_as_a_node", "--exact", "--nocapture", "--test-threads=1"]);
        command
            .env(ADDRESS, &cluster.database.address)
            .env("AMOIQ_TEST_NODE_SCHEMA", &cluster.database.schema);
        command.env("AMOIQ_TEST_NODE_NAME", name).env("AMOIQ_TEST_NODE_RECKLESS", is_reckless.to_string());
        let directory = tempfile::tempdir().expect("a directory");
        command.env("AMOIQ_TEST_NODE_DIRECTORY", directory.path());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        tokio::task::block_in_place(|| {
            lines
                .find(|line| line.as_ref().is_ok_and(|line| line.ends_with("joined")))
                .expect("it joins")
                .ok();
        });
        Self { process, _directory: directory }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([format!("-{signal}"), self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for ChildNode {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What nodes wrote.
pub(crate) struct WorkJournal<'a> {
    server: &'a PostgresServer,
    schema: String,
}

impl<'a> WorkJournal<'a> {
    pub(crate) fn new(server: &'a PostgresServer, cluster: &GivenCluster) -> Self {
        let schema = cluster.database.schema.clone();
        server.ask(&format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.journal (place bigint GENERATED ALWAYS AS IDENTITY,
             node text NOT NULL, number bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
        ));
        Self { server, schema }
    }

    /// How much a node wrote.
    pub(crate) fn count(&self, node: &str) -> usize {
        let count = format!("SELECT count(*) FROM {}.journal WHERE node = '{node}'", self.schema);
        self.server.ask(&count).parse().expect("a number")
    }

    /// How often the lease went from one grant to another.
    pub(crate) fn grants(&self) -> usize {
        let grants = format!("SELECT count(DISTINCT number) FROM {}.journal", self.schema);
        self.server.ask(&grants).parse().expect("a number")
    }

    /// Nothing was written under a grant after a later grant had written.
    #[track_caller]
    pub(crate) fn assert_in_order(&self) {
        let late = format!(
            "SELECT count(*) FROM (SELECT number, lag(number) OVER (ORDER BY place) AS before FROM {}.journal) j
             WHERE before > number",
            self.schema
        );
        assert_eq!(self.server.ask(&late), "0", "a node wrote under a lease that another had taken over");
    }

    /// The longest time in which nobody wrote.
    pub(crate) fn longest_gap(&self) -> Duration {
        let gap = format!(
            "SELECT max(extract(epoch FROM at - before)) FROM
             (SELECT at, lag(at) OVER (ORDER BY place) AS before FROM {}.journal) j",
            self.schema
        );
        Duration::from_secs_f64(self.server.ask(&gap).parse().expect("seconds"))
    }
}

/// Is a node, when this program was started as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_as_a_node() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let variable = |name: &str| env::var(format!("AMOIQ_TEST_NODE_{name}")).expect("a variable");
    let database = PostgresOptions { schema: variable("SCHEMA"), ..PostgresOptions::new(&address) };
    let cluster = GivenCluster { database };
    let options = cluster.options(&variable("NAME"), Path::new(&variable("DIRECTORY")));
    let leases = try_join(options).expect("joined");
    writeln!(io::stdout(), "joined").expect("written");
    let writing = cluster.open();
    let is_reckless = variable("RECKLESS") == "true";
    let mut held: Option<HeldLease> = None;
    loop {
        if held.as_ref().is_none_or(|lease| !is_reckless && lease.is_over()) {
            held = ask(&leases).await;
        }
        if let Some(lease) = held.as_ref().filter(|lease| is_reckless || lease.is_valid())
            && let Err(CallFailure::LeaseLost(_)) = write(&writing, lease, &variable("NAME")).await
        {
            lease.give_up();
            held = None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(leases: &PostgresLeases) -> Option<HeldLease> {
    leases.acquire(vec![lease(WORK)]).await.ok()?.pop()
}

/// Writes one row under a lease.
async fn write(database: &PostgresDatabase, lease: &HeldLease, node: &str) -> Result<(), CallFailure> {
    let (name, fencing) = (lease.name().clone(), lease.fencing());
    let text = database.schema().fill(&format!(
        "BEGIN; SELECT {{schema}}.check_lease('{name}', {}, {number});
         INSERT INTO {{schema}}.journal (node, number) VALUES ('{node}', {number}); COMMIT",
        fencing.epoch.0.cast_signed(),
        number = fencing.number,
    ));
    let on_thread = database.clone();
    let writing = database.spawn(async move { on_thread.connect().await?.execute(&text, WRITE).await });
    writing.await.expect("written")
}
