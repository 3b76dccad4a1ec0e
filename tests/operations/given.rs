//! A store that the real service made, and the program run on it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use amoiq_events::{
    Ambient, Event, EventStore, SessionId, StreamName, TenantId,
    event::EventCause,
    store::{ExpectedVersion, sqlite::SqliteStore},
    tenant::{SessionErased, TenantEvent},
};
use reqwest::blocking::Client;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const WIDGET: &str = "wk_demo_0000000000000000";
pub const SECRET: &str = "sk_demo_0000000000000000";

/// Sessions of the store that tests share, and how many messages each has: one is long enough for a mark.
pub const SESSIONS: [(&str, usize); 3] = [("session-long", 70), ("session-two", 5), ("session-three", 1)];

/// A running service. It is killed when it is dropped.
pub struct Service {
    process: Child,
    address: String,
    client: Client,
}

/// The program on a data directory, not run yet.
pub fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amoiq"));
    command
        .env("AMOIQ__STORE__PATH", data)
        .env("AMOIQ__SERVER__BIND", "127.0.0.1:0")
        .env("AMOIQ__OPERATOR__BIND", "127.0.0.1:0")
        .env("AMOIQ__LOG__LEVEL", "error")
        .env("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "0")
        .env("AMOIQ__RATE_LIMIT__SECRET_KEY_PER_MINUTE", "0")
        .stdin(Stdio::null());
    command
}

/// Runs the program on a data directory until it ends.
pub fn amoiq(data: &Path, arguments: &[&str]) -> Output {
    program(data).args(arguments).output().expect("the program runs")
}

/// What it printed on standard output. It has to succeed.
pub fn printed(data: &Path, arguments: &[&str]) -> String {
    let output = amoiq(data, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Verifies, and gives exit code and result.
pub fn verify(data: &Path, arguments: &[&str]) -> (i32, Value) {
    let arguments: Vec<&str> = ["verify", "--json"].iter().chain(arguments).copied().collect();
    let output = amoiq(data, &arguments);
    let result = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().expect("a code"), result)
}

impl Service {
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// The same with something in its environment.
    pub fn start_with(data: &Path, environment: &[(&str, &str)]) -> Self {
        Self::launch(data, environment, &[]).unwrap_or_else(|said| panic!("it does not start: {said}"))
    }

    /// The same with arguments.
    pub fn start_told(data: &Path, arguments: &[&str]) -> Self {
        Self::launch(data, &[], arguments).unwrap_or_else(|said| panic!("it does not start: {said}"))
    }

    /// Starts it; or gives what it says when it refuses.
    pub fn try_start(data: &Path) -> Result<Self, String> {
        Self::launch(data, &[], &[])
    }

    fn launch(data: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Result<Self, String> {
        let mut command = program(data);
        command.envs(environment.iter().copied()).args(arguments);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let address = lines.by_ref().find_map(|line| {
            let address = line.split_once(" listens on ").and_then(|(_, rest)| rest.split('"').next());
            let address = address.map(str::to_owned);
            said.push(line);
            address
        });
        // What it prints later fills no pipe.
        std::thread::spawn(move || lines.for_each(drop));
        // An error says that another test was faster.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let client =
            Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build().expect("a client");
        match address {
            Some(address) => Ok(Self { process, address, client }),
            None => {
                let output = process.wait_with_output().expect("it ended");
                said.push(String::from_utf8_lossy(&output.stderr).into_owned());
                Err(said.join("\n"))
            }
        }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn post(&self, credential: &str, path: &str, body: &Value) -> (u16, Value) {
        let sending = self.client.post(format!("{}{path}", self.address)).bearer_auth(credential);
        let response = sending.json(body).send().expect("an answer");
        (response.status().as_u16(), response.json().unwrap_or(Value::Null))
    }

    pub fn get(&self, credential: &str, path: &str) -> (u16, Value) {
        let asking = self.client.get(format!("{}{path}", self.address)).bearer_auth(credential);
        let response = asking.send().expect("an answer");
        (response.status().as_u16(), response.json().unwrap_or(Value::Null))
    }

    pub fn say(&self, session: &str, text: &str) -> (u16, Value) {
        let body = json!({"sessionId": session, "text": text, "userId": "ann"});
        let sending = self.client.post(format!("{}/webchat/message", self.address));
        let response = sending.bearer_auth(WIDGET).json(&body).send().expect("an answer");
        (response.status().as_u16(), response.json().unwrap_or(Value::Null))
    }

    /// The texts of a session, page after page, or the status of an error.
    pub fn texts(&self, session: &str) -> Result<Vec<String>, u16> {
        let (mut texts, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/chat/messages?sessionId={session}&limit=500{cursor}");
            let (status, body) = self.get(SECRET, &path);
            let messages = body["messages"].as_array().filter(|_| status == 200).ok_or(status)?;
            let page = messages.iter().map(|message| message["text"].as_str().expect("a text").to_owned());
            texts.splice(0..0, page);
            match body["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(texts),
            }
        }
    }

    pub fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        assert!(self.process.wait().expect("it ends").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The texts that a session of the shared store has.
pub fn texts_of(session: &str) -> Vec<String> {
    let (_, count) = SESSIONS.iter().find(|(name, _)| *name == session).expect("a session");
    (1..=*count).map(|number| format!("{session} says {number}")).collect()
}

/// The store that tests share, stopped: each works on a copy.
pub fn stopped() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    copy(MADE.get_or_init(|| made(true)).path())
}

/// The same, as a service leaves it that is killed.
pub fn killed() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    copy(MADE.get_or_init(|| made(false)).path())
}

fn made(is_stopped: bool) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let service = Service::start(directory.path());
    for (session, _) in SESSIONS {
        for text in texts_of(session) {
            assert_eq!(service.say(session, &text).0, 200);
        }
    }
    // The read model has followed: its file is part of what is left.
    eventually("the inbox follows", || {
        in_the_inbox(directory.path()).is_ok_and(|all| i64::try_from(SESSIONS.len()) == Ok(all))
    });
    if is_stopped {
        service.stop();
    }
    directory
}

/// The generation of the inbox that serves.
pub fn inbox_generation(views: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT number FROM generations WHERE projection = 'inbox' AND state = 1";
    views.query_row(sql, [], |row| row.get(0))
}

/// How many sessions are in it.
fn in_the_inbox(data: &Path) -> rusqlite::Result<i64> {
    let views = Connection::open(data.join("views.db"))?;
    let sql = format!("SELECT count(*) FROM inbox_{}", inbox_generation(&views)?);
    views.query_row(&sql, [], |row| row.get(0))
}

/// A copy of a data directory.
pub fn copy(from: &Path) -> TempDir {
    let copied = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), copied.path().join(entry.file_name())).expect("copied");
    }
    copied
}

/// Notes in the log of a stopped store that sessions were erased, and does not erase them.
pub fn append_erased(data: &Path, tenant: &str, sessions: &[&str]) {
    let ambient = Ambient::system();
    let store = SqliteStore::open(data, &ambient).expect("the store");
    let cause = EventCause { causation: "test".into(), actor: "test".into() };
    let stream = StreamName::tenant(&TenantId::parse(tenant).expect("an id"));
    let said = sessions.iter().map(|session| {
        let session_id = SessionId::parse(session).expect("an id");
        Event::Tenant(TenantEvent::SessionErased(SessionErased { session_id })).envelope(&ambient, &cause)
    });
    let appending = store.append(stream, ExpectedVersion::Any, said.collect());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(appending).expect("appended");
}

/// A file that is not there yet, in a directory of its own.
pub fn new_file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    (directory, file)
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
