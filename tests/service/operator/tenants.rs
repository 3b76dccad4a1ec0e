//! Tenants of a running service: created, changed, kept over a restart.

use amoiq_testkit::{AppLauncher, OperatorClient, SECRET_KEY, TestApp, cli};
use reqwest::Method;
use serde_json::json;

#[test]
fn the_demo_tenant_disappears_with_the_first_tenant_and_stays_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut app = AppLauncher::new().data(directory.path()).start();
    assert_eq!(app.get(SECRET_KEY, "/api/chat/online-users").status, 200);
    cli::json_of(app.data(), &["tenant", "create", "acme"]);
    assert_eq!(app.get(SECRET_KEY, "/api/chat/online-users").error(), (401, "INVALID_API_KEY"));
    app.terminate();
    let again = AppLauncher::new().data(directory.path()).start();
    assert_eq!(again.get(SECRET_KEY, "/api/chat/online-users").error(), (401, "INVALID_API_KEY"));
    assert_eq!(cli::json_of(again.data(), &["tenant", "show", "acme"])["name"], "acme");
}

#[test]
fn a_tenant_called_demo_that_leaves_the_configuration_gets_no_public_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = "[[tenants]]\nid = \"demo\"\nsecret_keys = [\"sk_configured_1\"]\n";
    let mut app = AppLauncher::new().data(directory.path()).config(config).start();
    assert_eq!(app.get("sk_configured_1", "/api/chat/online-users").status, 200);
    app.terminate();
    let again = AppLauncher::new().data(directory.path()).start();
    for key in [SECRET_KEY, "sk_configured_1"] {
        assert_eq!(again.get(key, "/api/chat/online-users").error(), (401, "INVALID_API_KEY"), "{key}");
    }
}

#[test]
fn a_tenant_is_created_once_and_updated_field_by_field() {
    let app = TestApp::start();
    let origin = "https://*.acme.example";
    let made = cli::json_of(app.data(), &["tenant", "create", "acme", "--name", "Acme", "--origin", origin]);
    assert_eq!((&made["name"], &made["origins"]), (&json!("Acme"), &json!([origin])));
    assert!(cli::failure_of(app.data(), &["tenant", "create", "acme"]).contains("TENANT_EXISTS"));
    let updated = cli::json_of(app.data(), &["tenant", "update", "acme", "--name", "Acme Corp"]);
    assert_eq!((&updated["name"], &updated["origins"]), (&json!("Acme Corp"), &json!([origin])));
    assert!(
        cli::failure_of(app.data(), &["tenant", "update", "other", "--name", "x"])
            .contains("TENANT_NOT_FOUND")
    );
}

#[test]
fn a_tenant_of_the_configuration_is_not_changed_by_hand() {
    let config = "[[tenants]]\nid = \"acme\"\nsecret_keys = [\"sk_configured_1\"]\n";
    let app = AppLauncher::new().config(config).start();
    let refused = cli::failure_of(app.data(), &["tenant", "update", "acme", "--name", "x"]);
    assert!(refused.contains("MANAGED_BY_CONFIGURATION"), "{refused}");
    let keys = cli::json_of(app.data(), &["key", "list", "--tenant", "acme"]);
    let id = keys["keys"][0]["id"].as_str().expect("an id");
    let refused = cli::failure_of(app.data(), &["key", "revoke", id, "--tenant", "acme"]);
    assert!(refused.contains("MANAGED_BY_CONFIGURATION"), "{refused}");
    assert!(
        cli::failure_of(app.data(), &["key", "rotate", id, "--tenant", "acme"]).contains("configuration")
    );
    assert_eq!(cli::json_of(app.data(), &["key", "list", "--tenant", "acme"]), keys);
}

#[test]
fn the_ids_of_the_demo_and_of_every_tenant_are_not_for_tenants() {
    let app = TestApp::start();
    let door = OperatorClient::of(&app);
    for id in ["demo", "*", "", "a\u{7}", ".", ".."] {
        let answer = door.send(Method::POST, "/operator/tenants", Some(&json!({ "id": id })));
        assert_eq!(answer.error(), (400, "VALIDATION_FAILED"), "{id}");
    }
    let wrong = json!({ "id": "acme", "origins": ["acme.example"] });
    let answer = door.send(Method::POST, "/operator/tenants", Some(&wrong));
    assert!(answer.body["details"]["fields"]["origins"].is_string(), "{answer:?}");
    assert_eq!(door.send(Method::GET, "/operator/tenants/acme", None).error(), (404, "TENANT_NOT_FOUND"));
}

#[test]
fn an_id_of_any_characters_can_be_named() {
    let app = TestApp::start();
    let id = "a/b?c#d %2F é";
    cli::json_of(app.data(), &["tenant", "create", id]);
    assert_eq!(cli::json_of(app.data(), &["tenant", "show", id])["id"], id);
    let key = cli::json_of(app.data(), &["key", "create", "--kind", "secret", "--tenant", id]);
    assert_eq!(app.get(key["key"].as_str().expect("a key"), "/api/chat/online-users").status, 200);
}

#[test]
fn an_id_that_a_url_cannot_carry_is_refused() {
    let app = TestApp::start();
    cli::json_of(app.data(), &["tenant", "create", "acme"]);
    let commands = [
        &["tenant", "show", ".."][..],
        &["tenant", "create", ".."],
        &["key", "list", "--tenant", "."],
        &["key", "revoke", "..", "--tenant", "acme"],
        &["webhook", "delete", "..", "--tenant", "acme"],
        &["webhook", "pause", "wh-\t1", "--tenant", "acme"],
    ];
    for words in commands {
        let refused = cli::failure_of(app.data(), words);
        assert!(
            refused.contains("is not a valid id") || refused.contains("VALIDATION_FAILED"),
            "{words:?}: {refused}"
        );
    }
}
