//! The real program, started on a port of its own with a data directory of its own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::{
    Method,
    blocking::{Client, RequestBuilder, Response},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a condition is waited for before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The demo tenant's keys.
pub const WIDGET: &str = "wk_demo_0000000000000000";
pub const SECRET: &str = "sk_demo_0000000000000000";
pub const BOT: &str = "bk_demo_0000000000000000";

/// A client over plain HTTP. It trusts nobody and still has to be told whose cryptography it would use.
pub fn client() -> Client {
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(PATIENCE).tls_certs_only([]).build().expect("a client")
}

/// A running service. It is killed when it is dropped.
pub struct TestApp {
    process: Child,
    address: String,
    data: PathBuf,
    client: Client,
    /// What it printed, for tests that look at its log.
    lines: Arc<Mutex<Vec<String>>>,
    _owned: Option<TempDir>,
}

/// How a service is started.
pub struct Start {
    data: Option<PathBuf>,
    config: String,
    environment: Vec<(String, String)>,
    under: Vec<String>,
}

impl Start {
    /// With a new data directory, the defaults, and rate limits off.
    pub fn new() -> Self {
        Self { data: None, config: String::new(), environment: Vec::new(), under: Vec::new() }
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

    /// Behind a program that changes something and then becomes this one, as `env` does.
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts the program and waits until it says where it listens.
    pub fn app(self) -> TestApp {
        let owned = self.data.is_none().then(|| tempfile::tempdir().expect("a directory"));
        let given = self.data.clone().or_else(|| owned.as_ref().map(|owned| owned.path().join("data")));
        let data = given.expect("one of the two");
        std::fs::create_dir_all(&data).expect("a directory");
        let file = self.written();
        let mut process = self.command(&data, file.path()).spawn().expect("the program starts");
        let printed = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&printed);
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe"))
            .lines()
            .map_while(Result::ok)
            .inspect(move |line| keep.lock().expect("a lock").push(line.clone()));
        let address = lines.find_map(|line| listens_on(&line).map(str::to_owned));
        let address = address.expect("the program says where it listens");
        // What it prints later is shown with the test's own output.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("amoiq: {line}")));
        let client = client();
        TestApp { process, address, data, client, lines: printed, _owned: owned }
    }

    /// Starts the program on a directory and waits for nothing; it reads the file, its configuration.
    pub fn spawn(self) -> (Child, tempfile::NamedTempFile) {
        let data = self.data.clone().expect("a directory");
        let file = self.written();
        let process = self.command(&data, file.path()).stdout(Stdio::null()).spawn();
        (process.expect("the program starts"), file)
    }

    /// Runs the program on a directory until it ends by itself: for a start that is refused.
    pub fn output(self) -> Output {
        let data = self.data.clone().expect("a directory");
        let file = self.written();
        self.command(&data, file.path()).stderr(Stdio::piped()).output().expect("the program runs")
    }

    fn written(&self) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &self.config).expect("a configuration");
        file
    }

    fn command(&self, data: &Path, config: &Path) -> Command {
        let program = [env!("CARGO_BIN_EXE_amoiq").to_owned()];
        let mut words = self.under.iter().chain(&program);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .arg("--config")
            .arg(config)
            .env("AMOIQ__SERVER__BIND", "127.0.0.1:0")
            .env("AMOIQ__OPERATOR__BIND", "127.0.0.1:0")
            .env("AMOIQ__STORE__PATH", data)
            .env("AMOIQ__LOG__LEVEL", "warn")
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
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

    /// Says something in a session and gives the message's id.
    pub fn say(&self, credential: &str, session: &str, text: &str) -> String {
        let answer = self.post(credential, "/webchat/message", &json!({"sessionId": session, "text": text}));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["messageId"].as_str().expect("an id").to_owned()
    }

    /// A token from `POST /api/chat/token`.
    pub fn mint(&self, secret: &str, wanted: &Value) -> String {
        let answer = self.post(secret, "/api/chat/token", wanted);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["token"].as_str().expect("a token").to_owned()
    }

    /// A token from `POST /api/chat/anonymous-token` for a session.
    pub fn anonymous(&self, key: &str, session: &str) -> String {
        let answer = self.post(key, "/api/chat/anonymous-token", &json!({"sessionId": session}));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["token"].as_str().expect("a token").to_owned()
    }

    /// The newest messages that a query finds.
    pub fn messages(&self, credential: &str, query: &str) -> Vec<Value> {
        let answer = self.get(credential, &format!("/api/chat/messages?{query}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["messages"].as_array().expect("a list").clone()
    }

    /// Kills the process at once, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// How the process ended; nothing while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("a state")
    }

    /// Sends SIGTERM and waits until the process ends.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let since = Instant::now();
        self.signal("TERM");
        (self.process.wait().expect("it ends"), since.elapsed())
    }

    /// Whether a line that the program printed holds all of these.
    pub fn printed(&self, parts: &[&str]) -> bool {
        self.printed_times(parts) > 0
    }

    /// How many lines that the program printed hold all of these.
    pub fn printed_times(&self, parts: &[&str]) -> usize {
        let lines = self.lines.lock().expect("a lock");
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
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

    /// A header of the answer; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The status and the code of an error.
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }
}

/// Where the greeting says that the service is: a line of text, or a JSON object.
pub fn listens_on(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" listens on ")?;
    rest.split('"').next()
}

/// Waits until a condition holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        // Asking again at once would take the processor from what is waited for.
        std::thread::sleep(Duration::from_millis(2));
    }
}
