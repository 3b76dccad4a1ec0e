//! Keys of a running service: shown once, good at once, and gone within a second.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use amoiq_testkit::{AppLauncher, SocketClient, TestApp, cli};
use serde_json::{Value, json};

/// How soon a revoked key must be refused.
const SOON: Duration = Duration::from_secs(1);

fn create(app: &TestApp, kind: &str) -> (String, String) {
    let made = cli::json_of(app.data(), &["key", "create", "--kind", kind, "--tenant", "acme"]);
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("id"), text("key"))
}

fn acme() -> TestApp {
    let app = TestApp::start();
    cli::json_of(app.data(), &["tenant", "create", "acme"]);
    app
}

fn holds(directory: &Path, text: &str) -> bool {
    let files = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("a file").path());
    let found = |path: &Path| {
        let bytes = fs::read(path).expect("a file");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    files.into_iter().any(|path| found(&path))
}

#[test]
fn a_key_is_shown_once_and_never_kept() {
    let app = acme();
    for (kind, prefix) in [("widget", "wk_"), ("secret", "sk_"), ("bot", "bk_")] {
        let (id, key) = create(&app, kind);
        assert_eq!(key.strip_prefix(prefix).expect("the prefix").len(), 32);
        let list = cli::json_of(app.data(), &["key", "list", "--tenant", "acme"]);
        assert!(!list.to_string().contains(&key));
        // The id is stored, so a search finds what is stored.
        assert!(holds(app.data(), &id));
        assert!(!holds(app.data(), &key));
    }
}

#[test]
fn a_revoked_key_ends_its_requests_its_tokens_and_its_sockets_within_a_second() {
    let app = acme();
    let (id, key) = create(&app, "secret");
    let token = app.mint_token(&key, &json!({"userId": "ann", "role": "agent", "name": "Ann"}));
    let mut by_key = SocketClient::connect_with(&app, &key, &json!({"role": "admin"}));
    let mut by_token = SocketClient::connect(&app, &token);
    assert!(cli::run(app.data(), &["key", "revoke", &id, "--tenant", "acme"]).status.success());
    let revoked = Instant::now();
    assert_eq!(app.get(&key, "/api/chat/online-users").error(), (401, "INVALID_API_KEY"));
    assert_eq!(app.get(&token, "/api/chat/online-users").error(), (401, "INVALID_JWT_TOKEN"));
    for socket in [&mut by_key, &mut by_token] {
        let (events, _) = socket.until_closed();
        assert!(events.iter().any(|(name, _)| name == "error"), "{events:?}");
    }
    assert!(revoked.elapsed() < SOON, "{:?}", revoked.elapsed());
}

#[test]
fn rotating_makes_a_key_of_the_same_kind_and_ends_the_old_one() {
    let app = acme();
    let (id, old) = create(&app, "bot");
    let rotated = cli::json_of(app.data(), &["key", "rotate", &id, "--tenant", "acme"]);
    let new = rotated["issued"]["key"].as_str().expect("a key");
    assert!(new.starts_with("bk_"));
    assert_eq!(rotated["revoked"], json!({"id": id, "revoked": true}));
    let read = "/api/chat/messages?sessionId=session-0123456789abcdef";
    assert_eq!(app.get(&old, read).error(), (401, "INVALID_API_KEY"));
    assert_eq!(app.get(new, read).error(), (404, "SESSION_NOT_FOUND"));
    assert!(
        cli::failure_of(app.data(), &["key", "rotate", &id, "--tenant", "acme"]).contains("does not exist")
    );
}

#[test]
fn a_key_shows_its_name_when_it_was_created_and_the_day_of_its_last_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut app = AppLauncher::new().data(directory.path()).start();
    cli::json_of(app.data(), &["tenant", "create", "acme"]);
    let made = |name: &str| {
        cli::json_of(app.data(), &["key", "create", "--kind", "secret", "--tenant", "acme", "--name", name])
    };
    let (used, minting, unused) = (made("used"), made("minting"), made("unused"));
    let bad = cli::failure_of(
        app.data(),
        &["key", "create", "--kind", "bot", "--tenant", "acme", "--name", "two\nlines"],
    );
    assert!(bad.contains("name"), "{bad}");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let token = app.mint_token(&text(&minting["key"]), &json!({"userId": "ann", "role": "agent"}));
    let listed = |app: &TestApp, name: &str| {
        let list = cli::json_of(app.data(), &["key", "list", "--tenant", "acme"]);
        let keys = list["keys"].as_array().expect("a list").clone();
        keys.into_iter().find(|key| key["name"] == name).expect("it is listed")
    };
    let day = |value: &Value| value.as_str().expect("a time")[..10].to_owned();
    assert_eq!(listed(&app, "used")["lastUsed"], Value::Null);
    assert_eq!(app.get(&text(&used["key"]), "/api/chat/online-users").status, 200);
    assert_eq!(app.get(&token, "/api/chat/online-users").status, 200);
    let today = day(&listed(&app, "used")["created"]);
    // It may be midnight.
    let is_recent = |value: &Value| day(value) >= today && value.as_str().expect("a day").len() == 10;
    for name in ["used", "minting"] {
        assert!(is_recent(&listed(&app, name)["lastUsed"]), "{name}");
    }
    assert!(app.terminate().0.success());
    let app = AppLauncher::new().data(directory.path()).start();
    assert!(is_recent(&listed(&app, "used")["lastUsed"]), "over a restart");
    assert_eq!(listed(&app, "unused")["lastUsed"], Value::Null);
    let rotated = cli::json_of(app.data(), &["key", "rotate", &text(&unused["id"]), "--tenant", "acme"]);
    assert_eq!(rotated["issued"]["name"], "unused");
    let table = cli::run(app.data(), &["key", "list", "--tenant", "acme"]);
    let table = String::from_utf8(table.stdout).expect("a text");
    assert!(table.starts_with("ID ") && table.contains("CREATED") && table.contains("LAST USED"), "{table}");
}

#[test]
fn a_key_for_every_tenant_opens_each_and_names_none() {
    let app = acme();
    cli::json_of(app.data(), &["tenant", "create", "other"]);
    let made = cli::json_of(app.data(), &["key", "create", "--kind", "secret", "--tenant", "*"]);
    let key = made["key"].as_str().expect("a key");
    for tenant in ["acme", "other"] {
        assert_eq!(app.get(key, &format!("/api/chat/online-users?tenantId={tenant}")).status, 200);
    }
    assert_eq!(app.get(key, "/api/chat/online-users").error(), (400, "MISSING_TENANT_ID"));
}

#[test]
fn the_log_says_who_made_a_change() {
    let app = acme();
    let (id, _) = create(&app, "secret");
    assert!(
        cli::run(app.data(), &["key", "revoke", &id, "--tenant", "acme", "--as", "bob@acme"])
            .status
            .success()
    );
    let bad = cli::failure_of(app.data(), &["key", "list", "--tenant", "acme", "--as", "bob the builder"]);
    assert!(bad.contains("--as"), "{bad}");
    let log = cli::stdout_of(app.data(), &["events"]);
    assert!(log.contains("by operator:ann ") && log.contains("by operator:bob@acme "), "{log}");
}

#[test]
fn an_unknown_tenant_or_kind_is_refused() {
    let app = acme();
    let unknown = cli::failure_of(app.data(), &["key", "create", "--kind", "bot", "--tenant", "nobody"]);
    assert!(unknown.contains("TENANT_NOT_FOUND"), "{unknown}");
    let unknown = cli::failure_of(app.data(), &["key", "revoke", "key-0", "--tenant", "acme"]);
    assert!(unknown.contains("KEY_NOT_FOUND"), "{unknown}");
    let demo = cli::failure_of(app.data(), &["key", "create", "--kind", "bot", "--tenant", "demo"]);
    assert!(demo.contains("MANAGED_BY_PROGRAM"), "{demo}");
    let keys: Value = cli::json_of(app.data(), &["key", "list", "--tenant", "acme"]);
    assert_eq!(keys, json!({"keys": []}));
}
