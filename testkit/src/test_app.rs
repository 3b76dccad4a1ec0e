//! The real program as a process of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use reqwest::{
    Method,
    blocking::{Client, RequestBuilder},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    ApiResponse, AppLauncher, eventually, metric_value, scrape,
    store_invariants::{assert_replay_gives_inbox, assert_verifies, inbox_rows},
};

/// The widget key of the demo tenant, which a service without configuration has.
pub const WIDGET_KEY: &str = "wk_demo_0000000000000000";
/// The secret key of the demo tenant.
pub const SECRET_KEY: &str = "sk_demo_0000000000000000";
/// The bot key of the demo tenant.
pub const BOT_KEY: &str = "bk_demo_0000000000000000";

/// The lines of standard output, in order.
pub(crate) type PrintedLines = Arc<Mutex<Vec<String>>>;

/// A running service. It is killed when it is dropped, and then its data directory is checked
/// ([`store_invariants`](crate::store_invariants)), unless the launcher was told otherwise.
pub struct TestApp {
    pub(crate) process: Child,
    pub(crate) address: String,
    pub(crate) data: PathBuf,
    pub(crate) client: Client,
    pub(crate) printed: PrintedLines,
    pub(crate) checks_store: bool,
    /// The data directory, when nobody else owns it.
    pub(crate) _owned: Option<TempDir>,
}

impl TestApp {
    /// Starts a service with the demo tenant and without rate limits.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        AppLauncher::new().start()
    }

    /// Starts the same on a data directory.
    #[must_use]
    #[track_caller]
    pub fn start_on(data: &Path) -> Self {
        AppLauncher::new().data(data).start()
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn socket_address(&self) -> SocketAddr {
        let address = self.address.strip_prefix("http://").expect("an address");
        address.parse().expect("an address")
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A request without a credential.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address))
    }

    /// A GET with a credential.
    pub fn get(&self, credential: &str, path: &str) -> ApiResponse {
        ApiResponse::to(self.request(Method::GET, path).bearer_auth(credential))
    }

    /// A POST of JSON with a credential.
    pub fn post(&self, credential: &str, path: &str, body: &Value) -> ApiResponse {
        ApiResponse::to(self.request(Method::POST, path).bearer_auth(credential).json(body))
    }

    /// Sends a message to a session and gives the message's id.
    #[track_caller]
    pub fn say(&self, credential: &str, session: &str, text: &str) -> String {
        let sent = self.post(credential, "/webchat/message", &json!({"sessionId": session, "text": text}));
        sent.expect_status(200)["messageId"].as_str().expect("an id").to_owned()
    }

    /// A token from `POST /api/chat/token`.
    #[must_use]
    #[track_caller]
    pub fn mint_token(&self, secret: &str, claims: &Value) -> String {
        let minted = self.post(secret, "/api/chat/token", claims).expect_status(200);
        minted["token"].as_str().expect("a token").to_owned()
    }

    /// A token from `POST /api/chat/anonymous-token` for a session.
    #[must_use]
    #[track_caller]
    pub fn anonymous_token(&self, key: &str, session: &str) -> String {
        let body = json!({"sessionId": session});
        let minted = self.post(key, "/api/chat/anonymous-token", &body).expect_status(200);
        minted["token"].as_str().expect("a token").to_owned()
    }

    /// The newest messages that a query finds.
    #[must_use]
    #[track_caller]
    pub fn messages(&self, credential: &str, query: &str) -> Vec<Value> {
        let page = self.get(credential, &format!("/api/chat/messages?{query}")).expect_status(200);
        page["messages"].as_array().expect("a list").clone()
    }

    /// The texts of all messages of a session, page after page.
    ///
    /// # Errors
    /// The status, when a page is refused.
    pub fn texts(&self, credential: &str, session: &str) -> Result<Vec<String>, u16> {
        let (mut texts, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/chat/messages?sessionId={session}&limit=500{cursor}");
            let page = self.get(credential, &path);
            if page.status != 200 {
                return Err(page.status);
            }
            let messages = page.body["messages"].as_array().expect("a list");
            let older = messages.iter().map(|message| message["text"].as_str().expect("a text").to_owned());
            texts.splice(0..0, older);
            match page.body["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(texts),
            }
        }
    }

    /// Kills the process at once, as a crash would, and waits until it has ended.
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
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("a state")
    }

    /// Sends SIGTERM, and says how and after what time the process ended.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let since = Instant::now();
        self.signal("TERM");
        (self.process.wait().expect("it ends"), since.elapsed())
    }

    /// Stops the service, which must succeed.
    #[track_caller]
    pub fn stop(mut self) {
        let (status, _) = self.terminate();
        assert!(status.success(), "{status}");
    }

    /// Whether the program printed a line that holds all of these.
    #[must_use]
    pub fn printed(&self, parts: &[&str]) -> bool {
        self.printed_times(parts) > 0
    }

    /// How many lines the program printed that hold all of these.
    #[must_use]
    pub fn printed_times(&self, parts: &[&str]) -> usize {
        let lines = self.printed.lock().expect("a lock");
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }
}

impl TestApp {
    /// Waits until the inbox holds everything that is in the log.
    fn wait_for_inbox(&self) {
        let lag = "amoiq_projection_lag_events{projection=\"inbox\"}";
        eventually("the inbox follows the log", || {
            inbox_rows(&self.data).is_ok() && metric_value(&scrape(self), lag) == Some(0.0)
        });
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // A test may have dropped the directory before.
        let is_checked = self.checks_store && !thread::panicking() && self.data.join("views.db").exists();
        let is_running = self.exit_status().is_none();
        if is_checked && is_running {
            self.wait_for_inbox();
        }
        // It may have ended already.
        drop(self.process.kill());
        drop(self.process.wait());
        if is_checked {
            assert_verifies(&self.data);
            // The inbox of a service that a test stopped or killed may be behind, or another service's by now.
            if is_running {
                assert_replay_gives_inbox(&self.data);
            }
        }
    }
}
