//! A service whose log is in a KurrentDB: it starts, stops and is killed as with any other log, says what is wrong with its
//! settings or the database, and comes back by itself when the database does.

use std::path::Path;

use amoiq_testkit::{AppLauncher, KurrentServer, SECRET_KEY, TestApp, WIDGET_KEY, cli, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const SESSION: &str = "session-in-kurrentdb";

/// A log in a server of the test's own, with the data directory beside it.
pub(super) struct KurrentLog {
    pub(super) server: KurrentServer,
    data: TempDir,
}

impl KurrentLog {
    pub(super) fn new() -> Self {
        Self { server: KurrentServer::start(), data: tempfile::tempdir().expect("a directory") }
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![("AMOIQ__STORE__BACKEND", "kurrentdb".to_owned()), ("AMOIQ__STORE__URL", self.server.address())]
    }

    fn launcher(&self) -> AppLauncher {
        let launcher = AppLauncher::new().data(self.data.path());
        // What is checked at the end of other tests is the log that `AMOIQ_TEST_STORE` names.
        let own = self.settings().into_iter();
        let launcher = launcher.environment("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8").unchecked();
        own.fold(launcher, |launcher, (key, value)| launcher.environment(key, &value))
    }

    pub(super) fn start(&self) -> TestApp {
        self.launcher().start()
    }

    /// Runs a command on it: whether it succeeded, and what it printed on both outputs.
    fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut command = cli::command(self.data.path());
        let output = command.envs(self.settings()).args(arguments).output().expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    pub(super) fn stdout_of(&self, arguments: &[&str]) -> String {
        let (is_success, printed, errors) = self.run(arguments);
        assert!(is_success, "{arguments:?}: {printed} {errors}");
        printed
    }

    #[track_caller]
    pub(super) fn failure_of(&self, arguments: &[&str]) -> String {
        let (is_success, printed, errors) = self.run(arguments);
        assert!(!is_success, "{arguments:?}: {printed}");
        errors
    }
}

fn texts(app: &TestApp) -> Vec<String> {
    app.texts(SECRET_KEY, SESSION).expect("a history")
}

#[test]
fn messages_are_there_after_a_stop_and_after_a_kill() {
    let log = KurrentLog::new();
    let app = log.start();
    app.say(WIDGET_KEY, SESSION, "first");
    assert_eq!(texts(&app), ["first"]);
    app.stop();
    let mut app = log.start();
    app.say(WIDGET_KEY, SESSION, "second");
    app.kill();
    let app = log.start();
    app.say(WIDGET_KEY, SESSION, "third");
    assert_eq!(texts(&app), ["first", "second", "third"]);
    assert!(!log.data.path().join("log.db").exists());
}

#[test]
fn the_read_models_are_made_again_in_an_empty_directory() {
    let mut log = KurrentLog::new();
    let app = log.start();
    let message = json!({ "sessionId": SESSION, "text": "hello", "userId": "ann" });
    app.post(WIDGET_KEY, "/webchat/message", &message).expect_status(200);
    app.stop();
    log.data = tempfile::tempdir().expect("a directory");
    let app = log.start();
    eventually("the inbox is there", || app.get(SECRET_KEY, "/api/chat/messages?userId=ann").status == 200);
    assert_eq!(app.messages(SECRET_KEY, "userId=ann").len(), 1);
}

#[test]
fn commands_read_the_log_beside_the_service() {
    let log = KurrentLog::new();
    let app = log.start();
    for number in 0..5 {
        app.say(WIDGET_KEY, SESSION, &format!("text {number}"));
    }
    assert!(log.stdout_of(&["verify"]).starts_with("no damage found"));
    assert!(log.stdout_of(&["events", "--texts"]).contains("text 4"));
    let state = log.stdout_of(&["state", "--tenant", "demo", "--session", SESSION, "--texts"]);
    assert!(state.contains("text 0"), "{state}");
    log.stdout_of(&["rebuild", "inbox"]);
    let export = log.data.path().join("export.jsonl");
    log.stdout_of(&["events", "export", export.to_str().expect("a path")]);
    // An export is for every backend.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let mut import = cli::command(elsewhere.path());
    import.env("AMOIQ__STORE__BACKEND", "sqlite").env_remove("AMOIQ__STORE__URL");
    let imported = import.args(["events", "import"]).arg(&export).output().expect("the program runs");
    assert!(imported.status.success(), "{imported:?}");
    app.stop();
    log.stdout_of(&["rebuild", "inbox"]);
}

#[test]
fn commands_on_files_say_what_to_do_instead() {
    let log = KurrentLog::new();
    log.start().stop();
    let file = log.data.path().join("file");
    let file = file.to_str().expect("a path");
    for (arguments, advice) in [
        (["backup", file].as_slice(), "`amoiq events export`"),
        (&["restore", file], "restore the files of every node"),
        (&["verify", "--repair"], "makes its index again"),
        (&["events", "export", file, "--skip-damaged"], "--skip-damaged is for store.backend = sqlite"),
    ] {
        let refusal = log.failure_of(arguments);
        assert!(refusal.contains(advice), "{arguments:?}: {refusal}");
    }
    assert!(!Path::new(file).exists());
}

#[test]
fn a_start_says_what_is_wrong_with_the_settings() {
    let log = KurrentLog::new();
    log.server.require_login("amoiq", "right");
    let port = log.server.port(0);
    for (url, user, password, reason) in [
        (format!("esdb://127.0.0.1:{port}?tls=false&keepAlive=5"), "", "", "unknown option `keepAlive`"),
        ("postgres://127.0.0.1/amoiq".to_owned(), "", "", "does not start with `esdb://`"),
        ("esdb://db.example.com?tls=false".to_owned(), "", "", "open to others"),
        (log.server.address(), "amoiq", "wrong", "the user or the password is wrong"),
        (log.server.address(), "", "", "has to be in `$admins`"),
        (format!("esdb://amoiq:wrong@127.0.0.1:{port}?tls=false"), "", "right", ""),
        ("esdb://127.0.0.1:1?tls=false".to_owned(), "", "", "Connection refused"),
    ] {
        let launcher = log.launcher().settings(&[
            ("AMOIQ__STORE__URL", &url),
            ("AMOIQ__STORE__USER", user),
            ("AMOIQ__STORE__PASSWORD", password),
        ]);
        match launcher.try_start() {
            Ok(app) if reason.is_empty() => app.stop(),
            Ok(_) => panic!("{url} {user} {password}: it started"),
            Err(printed) => {
                let expected = ["store.backend = kurrentdb", reason];
                assert!(expected.iter().all(|part| printed.contains(part)), "{url}: {printed}");
                assert!(!printed.contains("right"), "{printed}");
            }
        }
    }
}

#[test]
fn settings_are_checked_without_the_database() {
    let log = KurrentLog::new();
    let check = |url: &str| {
        let mut command = cli::command(log.data.path());
        command.envs(log.settings()).env("AMOIQ__STORE__URL", url).args(["config", "check"]);
        String::from_utf8(command.output().expect("the program runs").stderr).expect("text")
    };
    assert_eq!(check("kurrentdb://db1.example,db2.example"), "");
    assert!(check("esdb://db1.example?nodePreference=random").contains("only `leader`"));
    assert!(check("").contains("store.url is empty"));
}

#[test]
fn a_message_is_as_long_as_the_database_takes() {
    let log = KurrentLog::new();
    let with = |bytes: &str| {
        let settings = [("AMOIQ__LIMITS__BODY_BYTES", bytes), ("AMOIQ__LIMITS__TEXT_CHARACTERS", "1000000")];
        log.launcher().settings(&settings)
    };
    let refused = with("262145").try_start().err().expect("it does not start");
    assert!(refused.contains("must be at most 262144 with store.backend = kurrentdb"), "{refused}");
    let app = with("262144").start();
    // Two bytes each, in the request and in the log.
    let text = "\"".repeat(130_000);
    app.say(WIDGET_KEY, SESSION, &text);
    assert_eq!(texts(&app), [text]);
}

#[test]
fn a_service_is_not_ready_while_the_database_is_away_and_goes_on_when_it_is_back() {
    let mut log = KurrentLog::new();
    let app = log.start();
    app.say(WIDGET_KEY, SESSION, "before");
    let readiness = || app.request(Method::GET, "/readyz").send().expect("an answer").status().as_u16();
    assert_eq!(readiness(), 200);
    log.server.kill(0);
    eventually("it is not ready", || readiness() == 503);
    let message = json!({ "sessionId": SESSION, "text": "meanwhile", "clientMessageId": "meanwhile" });
    let refused = app.post(WIDGET_KEY, "/webchat/message", &message);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(app.request(Method::GET, "/healthz").send().expect("an answer").status(), 200);
    log.server.resume(0);
    eventually("it is ready again", || readiness() == 200);
    app.post(WIDGET_KEY, "/webchat/message", &message).expect_status(200);
    app.say(WIDGET_KEY, SESSION, "after");
    assert_eq!(texts(&app), ["before", "meanwhile", "after"]);
}

#[test]
fn a_log_that_was_restored_goes_on_in_another_epoch() {
    let log = KurrentLog::new();
    let app = log.start();
    app.say(WIDGET_KEY, SESSION, "kept");
    app.stop();
    let backup = log.server.backup();
    let app = log.start();
    app.say(WIDGET_KEY, SESSION, "lost");
    assert!(!app.printed(&["the log lost acknowledged events"]));
    log.server.restore(&backup);
    let readiness = || app.request(Method::GET, "/readyz").send().expect("an answer").status().as_u16();
    eventually("a service that knew more does not go on", || readiness() == 503);
    app.stop();
    let app = log.start();
    assert!(app.printed(&["the log lost acknowledged events"]));
    assert_eq!(texts(&app), ["kept"]);
    app.say(WIDGET_KEY, SESSION, "new");
    assert_eq!(texts(&app), ["kept", "new"]);
    assert!(log.stdout_of(&["verify"]).starts_with("no damage found"));
}

#[test]
fn an_erased_text_is_in_no_answer_of_the_database() {
    let log = KurrentLog::new();
    let app = log.start();
    let hers =
        json!({ "sessionId": "session-of-quentina", "text": "the-cardigan-is-teal", "userId": "quentina" });
    for _ in 0..3 {
        app.post(WIDGET_KEY, "/webchat/message", &hers).expect_status(200);
    }
    app.say(WIDGET_KEY, SESSION, "what-stays");
    assert!(log.server.shows(0, "the-cardigan-is-teal"));
    let erased = log.stdout_of(&["erase", "--tenant", "demo", "--user", "quentina", "--yes", "--json"]);
    let erased: Value = serde_json::from_str(&erased).expect("JSON");
    assert_eq!(erased["sessions"], json!(["session-of-quentina"]));
    assert!(!log.server.shows(0, "the-cardigan-is-teal"));
    assert!(log.server.shows(0, "what-stays"));
    assert_eq!(app.texts(SECRET_KEY, "session-of-quentina"), Err(404));
    app.post(WIDGET_KEY, "/webchat/message", &hers).expect_status(200);
    assert_eq!(app.texts(SECRET_KEY, "session-of-quentina").expect("a history").len(), 1);
}
