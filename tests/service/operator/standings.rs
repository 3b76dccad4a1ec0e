//! The state of deliveries, as the operator sees it.

use std::net::TcpListener;

use amoiq_testkit::{AppLauncher, TestApp, cli, eventually};
use serde_json::Value;

/// Where nobody listens.
fn dead() -> String {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one").port();
    format!("http://127.0.0.1:{port}/hook")
}

/// Two tenants with an endpoint each: `acme`'s accepts nothing, and a delivery waits for it.
fn given() -> TestApp {
    let app = AppLauncher::new().environment("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8").start();
    for tenant in ["acme", "other"] {
        cli::json_of(app.data(), &["tenant", "create", tenant]);
        cli::json_of(app.data(), &["webhook", "create", &dead(), "--tenant", tenant]);
    }
    let key = cli::json_of(app.data(), &["key", "create", "--kind", "widget", "--tenant", "acme"]);
    app.say(key["key"].as_str().expect("a key"), "session-of-standings-1", "hello");
    app
}

fn list(app: &TestApp, words: &[&str]) -> Vec<Value> {
    let listed = cli::json_of(app.data(), &[&["webhook", "list"][..], words].concat());
    listed["webhooks"].as_array().expect("a list").clone()
}

#[test]
fn the_list_shows_which_endpoint_accepts_nothing() {
    let app = given();
    eventually("it has failed", || {
        let [acme] = &*list(&app, &["--tenant", "acme"]) else { panic!("one") };
        acme["standing"]["failingSince"].is_string() && acme["standing"]["pending"] == 1
    });
    eventually("the other waits for nothing", || {
        let [other] = &*list(&app, &["--tenant", "other"]) else { panic!("one") };
        let standing = &other["standing"];
        standing["lagEvents"].is_u64() && standing["pending"] == 0 && standing["failingSince"].is_null()
    });
}

#[test]
fn without_a_tenant_the_list_contains_all_tenants() {
    let app = given();
    let whose: Vec<_> = list(&app, &[]).iter().map(|shown| shown["tenant"].clone()).collect();
    assert_eq!(whose, ["acme", "other"]);
    let table = String::from_utf8(cli::run(app.data(), &["webhook", "list"]).stdout).expect("a text");
    let heading: Vec<_> = table.lines().next().unwrap_or_default().split("  ").map(str::trim).collect();
    assert_eq!(
        heading.iter().filter(|name| !name.is_empty()).take(4).collect::<Vec<_>>(),
        [&"TENANT", &"ID", &"STATUS", &"LAG EVENTS"],
        "{table}"
    );
    assert_eq!(table.lines().count(), 3, "{table}");
}
