//! A node as a process of its own: this test program, started once more. Its endpoints' receiver is a table, into which it
//! writes what arrives, on a connection of its own.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use amoiq_actors::webhooks::{DeliveryOutcome, WebhookEndpoint, WebhookPayload, WebhookSender};
use amoiq_events::postgres::{CallPool, PostgresDatabase, PostgresOptions};
use tempfile::TempDir;

use crate::given::SharedDatabase;

/// What the variables of such a process start with.
const ADDRESS: &str = "AMOIQ_TEST_LANES_ADDRESS";

/// The table in which deliveries arrive.
pub(crate) const RECEIVED: &str = "CREATE TABLE {schema}.received (
    place bigint GENERATED ALWAYS AS IDENTITY, node text NOT NULL, webhook text NOT NULL, session text NOT NULL,
    event uuid NOT NULL, text text NOT NULL)";

/// A node. It is killed when it is dropped.
pub(crate) struct ChildNode {
    process: Child,
    _directory: TempDir,
}

impl ChildNode {
    /// Starts a node, and waits until it serves.
    pub(crate) fn start(options: &PostgresOptions, name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env::current_exe().expect("this program"));
        command.args(["child_node::run_as_a_node", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(ADDRESS, &options.address).env("AMOIQ_TEST_LANES_SCHEMA", &options.schema);
        command.env("AMOIQ_TEST_LANES_NAME", name).env("AMOIQ_TEST_LANES_DIRECTORY", directory.path());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        lines.find(|line| line.as_ref().is_ok_and(|line| line.ends_with("serving"))).expect("it serves").ok();
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

/// Writes what it gets into the table.
struct TableReceiver {
    node: String,
    pool: CallPool,
}

impl WebhookSender for TableReceiver {
    fn send(
        &self,
        endpoint: Arc<WebhookEndpoint>,
        payload: WebhookPayload,
    ) -> Pin<Box<dyn Future<Output = DeliveryOutcome> + Send + 'static>> {
        let (pool, node) = (self.pool.clone(), self.node.clone());
        Box::pin(async move {
            let WebhookPayload::Message(message) = payload else { return DeliveryOutcome::default() };
            let text = pool.database().schema().statement(
                "INSERT INTO {schema}.received (node, webhook, session, event, text) VALUES ($1, $2, $3, $4, $5)",
            );
            let event = uuid::Uuid::from_bytes(*message.event_id.as_bytes());
            let values = vec![
                Box::new(node) as _,
                Box::new(endpoint.id.as_str().to_owned()) as _,
                Box::new(message.session.as_str().to_owned()) as _,
                Box::new(event) as _,
                Box::new(message.message.text.as_str().to_owned()) as _,
            ];
            match pool.call(&text, values).await {
                Ok(_) => DeliveryOutcome { status: Some(200), ..DeliveryOutcome::default() },
                Err(failure) => {
                    DeliveryOutcome { error: Some(failure.to_string()), ..DeliveryOutcome::default() }
                }
            }
        })
    }
}

/// Is a node, when this program was started as one.
#[test]
fn run_as_a_node() {
    let Ok(address) = env::var(ADDRESS) else { return };
    let variable = |name: &str| env::var(format!("AMOIQ_TEST_LANES_{name}")).expect("a variable");
    let options = PostgresOptions { schema: variable("SCHEMA"), ..PostgresOptions::new(&address) };
    actix::System::new().block_on(async {
        let database = PostgresDatabase::open(&options).expect("a database");
        let receiver = TableReceiver { node: variable("NAME"), pool: CallPool::new(database, 4) };
        let shared = SharedDatabase::on(options);
        let directory = variable("DIRECTORY");
        let _node = shared.start(&variable("NAME"), Path::new(&directory), Arc::new(receiver)).await;
        writeln!(io::stdout(), "serving").expect("written");
        tokio::time::sleep(Duration::from_mins(10)).await;
    });
}
