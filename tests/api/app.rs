//! The real program, started on a port of its own with a data directory of its own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use reqwest::{
    Method,
    blocking::{Client, RequestBuilder, Response},
};
use serde_json::Value;
use tempfile::TempDir;

/// How long a condition is waited for before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The demo tenant's keys.
pub const WIDGET: &str = "wk_demo_0000000000000000";
pub const SECRET: &str = "sk_demo_0000000000000000";
pub const BOT: &str = "bk_demo_0000000000000000";

/// A running service. It is killed when it is dropped.
pub struct TestApp {
    process: Child,
    address: String,
    data: PathBuf,
    client: Client,
    _owned: Option<TempDir>,
}

/// How a service is started.
pub struct Start {
    data: Option<PathBuf>,
    config: String,
    environment: Vec<(String, String)>,
}

impl Start {
    /// With a new data directory, the defaults, and rate limits off.
    pub fn new() -> Self {
        Self { data: None, config: String::new(), environment: Vec::new() }
            .environment("AMOIQ__RATE_LIMIT__HTTP_PER_MINUTE", "0")
            .environment("AMOIQ__RATE_LIMIT__SECRET_KEY_PER_MINUTE", "0")
    }

    /// On a directory that is there, or is to be made.
    pub fn data(mut self, data: &Path) -> Self {
        self.data = Some(data.to_owned());
        self
    }

    /// With a configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.config);
        self
    }

    /// With a variable of the environment. The last one of a name counts.
    pub fn environment(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts the program and waits until it says where it listens.
    pub fn app(self) -> TestApp {
        let owned = self.data.is_none().then(|| tempfile::tempdir().expect("a directory"));
        let given = self.data.or_else(|| owned.as_ref().map(|owned| owned.path().join("data")));
        let data = given.expect("one of the two");
        std::fs::create_dir_all(&data).expect("a directory");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &self.config).expect("a configuration");
        let mut process = Command::new(env!("CARGO_BIN_EXE_amoiq"))
            .arg("--config")
            .arg(file.path())
            .env("AMOIQ__SERVER__BIND", "127.0.0.1:0")
            .env("AMOIQ__STORE__PATH", &data)
            .env("AMOIQ__LOG__LEVEL", "warn")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once(" listens on ").map(|(_, address)| address.to_owned()));
        let address = address.expect("the program says where it listens");
        // What it prints later is shown with the test's own output.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("amoiq: {line}")));
        let client = Client::builder().timeout(PATIENCE).build().expect("a client");
        TestApp { process, address, data, client, _owned: owned }
    }
}

impl TestApp {
    /// The demo tenant without rate limits.
    pub fn start() -> Self {
        Start::new().app()
    }

    /// `http://127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A request without a credential.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address))
    }

    /// A GET with a credential.
    pub fn get(&self, credential: &str, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).bearer_auth(credential))
    }

    /// A POST of JSON with a credential.
    pub fn post(&self, credential: &str, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).bearer_auth(credential).json(body))
    }

    /// Kills the process at once, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// Sends SIGTERM and waits until the process ends.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let since = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        (self.process.wait().expect("it ends"), since.elapsed())
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What the service answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Sends a request and reads its answer as JSON (`null` when it is none).
    pub fn of(request: RequestBuilder) -> Self {
        let response: Response = request.send().expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().expect("a body");
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null) }
    }

    /// The status and the code of an error.
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }
}

/// Waits until a condition holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}
