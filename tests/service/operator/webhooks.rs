//! Webhook endpoints of a running service, as their operator manages them.

use amoiq_testkit::{AppLauncher, TestApp, cli};
use serde_json::Value;

const URL: &str = "https://acme.example/hook";

fn acme() -> (TestApp, Value) {
    let app = TestApp::start();
    cli::json_of(app.data(), &["tenant", "create", "acme"]);
    let made = cli::json_of(app.data(), &["webhook", "create", URL, "--tenant", "acme"]);
    (app, made)
}

fn list(app: &TestApp) -> Vec<Value> {
    let list = cli::json_of(app.data(), &["webhook", "list", "--tenant", "acme"]);
    list["webhooks"].as_array().expect("a list").clone()
}

#[test]
fn a_secret_is_shown_once() {
    let (app, made) = acme();
    let secret = made["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_") && secret.len() > 40);
    assert!(!format!("{:?}", list(&app)).contains(secret));
    let id = made["id"].as_str().expect("an id");
    let rotated = cli::json_of(app.data(), &["webhook", "rotate-secret", id, "--tenant", "acme"]);
    assert!(rotated["secret"].as_str().is_some_and(|new| new.starts_with("whsec_") && new != secret));
}

#[test]
fn a_leaked_secret_ends_at_once_and_any_other_a_day_later() {
    let (app, made) = acme();
    let id = made["id"].as_str().expect("an id");
    let rotate = |words: &[&str]| {
        let mut all = vec!["webhook", "rotate-secret", id, "--tenant", "acme"];
        all.extend(words);
        cli::json_of(app.data(), &all)
    };
    assert!(rotate(&[])["previousSecretValidUntil"].is_string());
    let ended = rotate(&["--expire-previous"]);
    assert!(ended["secret"].is_string());
    let until = ended.as_object().and_then(|answer| answer.get("previousSecretValidUntil"));
    assert_eq!(until, Some(&Value::Null));
}

#[test]
fn an_endpoint_is_paused_resumed_and_deleted() {
    let (app, made) = acme();
    let id = made["id"].as_str().expect("an id");
    let act = |action: &str| cli::json_of(app.data(), &["webhook", action, id, "--tenant", "acme"]);
    assert_eq!(act("pause")["status"], "paused");
    assert_eq!(act("resume")["status"], "enabled");
    let disabled =
        cli::json_of(app.data(), &["webhook", "disable", id, "--reason", "moved", "--tenant", "acme"]);
    assert_eq!((&disabled["status"], &disabled["disabledReason"]), (&"disabled".into(), &"moved".into()));
    assert_eq!(act("resume")["status"], "enabled");
    act("pause");
    assert_eq!(act("disable")["status"], "disabled", "one that is paused is disabled, too");
    act("delete");
    assert!(list(&app).is_empty());
    assert!(
        cli::failure_of(app.data(), &["webhook", "pause", id, "--tenant", "acme"])
            .contains("WEBHOOK_NOT_FOUND")
    );
}

#[test]
fn an_update_changes_what_it_names() {
    let (app, made) = acme();
    let id = made["id"].as_str().expect("an id");
    let update = |words: &[&str]| {
        let mut all = vec!["webhook", "update", id, "--tenant", "acme"];
        all.extend(words);
        cli::json_of(app.data(), &all)
    };
    assert_eq!(update(&["--rate-per-second", "5"])["ratePerSecond"], 5);
    let moved = update(&["--url", "https://new.example/hook"]);
    assert_eq!((&moved["url"], &moved["ratePerSecond"]), (&"https://new.example/hook".into(), &5.into()));
    let described = update(&["--description", "ours"]);
    assert_eq!((&described["description"], &described["ratePerSecond"]), (&"ours".into(), &5.into()));
    let free = update(&["--rate-per-second", "0"]);
    assert_eq!((&free["description"], &free["ratePerSecond"]), (&"ours".into(), &Value::Null));
    assert!(update(&["--description", ""])["description"].is_null());
}

#[test]
fn only_a_web_address_can_be_an_endpoint() {
    let (app, _) = acme();
    for bad in ["ftp://acme.example", "acme.example", "https://user:word@acme.example/"] {
        let refused = cli::failure_of(app.data(), &["webhook", "create", bad, "--tenant", "acme"]);
        assert!(refused.contains("VALIDATION_FAILED"), "{refused}");
    }
    assert_eq!(list(&app).len(), 1);
}

#[test]
fn an_endpoint_of_the_configuration_can_be_paused_but_not_changed() {
    let config = "[[tenants]]\nid = \"acme\"\nwebhooks = [{ url = \"https://a.example/\", secret = \"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\" }]\n";
    let app = AppLauncher::new().config(config).start();
    let id = list(&app)[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(cli::json_of(app.data(), &["webhook", "pause", &id, "--tenant", "acme"])["status"], "paused");
    for words in [&["delete"][..], &["rotate-secret"], &["update", "--description", "mine"]] {
        let mut all = vec!["webhook", words[0], &id, "--tenant", "acme"];
        all.extend(&words[1..]);
        let refused = cli::failure_of(app.data(), &all);
        assert!(refused.contains("MANAGED_BY_CONFIGURATION"), "{refused}");
    }
}

#[test]
fn a_command_that_names_no_tenant_is_a_usage_error() {
    let app = TestApp::start();
    let (update, create) = (["webhook", "update", "wh-1"], ["key", "create", "--kind", "bot"]);
    for words in [&update[..], &create, &["webhook", "pause", "wh-1"], &["key", "list", "--tenant", ""]] {
        let output = cli::run(app.data(), words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains("--tenant"), "{said}");
    }
}
