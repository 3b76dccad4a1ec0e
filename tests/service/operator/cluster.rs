//! `amoiq cluster`, `GET /operator/cluster`, and the metrics of nodes: of a service that is alone, and of two on one log. What
//! three nodes look like is beside the command.

use std::path::Path;

use amoiq_testkit::{
    AppLauncher, OperatorClient, PostgresServer, TestApp, WIDGET_KEY, cli, eventually, metric_value, scrape,
};
use reqwest::Method;
use serde_json::{Value, json};

#[test]
fn a_service_alone_is_one_node_that_has_nobody_to_ask() {
    let app = AppLauncher::new().environment("AMOIQ__CLUSTER__NODE", "a").start();
    app.say(WIDGET_KEY, "session-of-a-node-0123456789", "hello");
    let mut shown = cli::json_of(app.data(), &["cluster"]);
    let joined = shown["nodes"][0]["joinedAt"].take();
    assert!(joined.as_str().is_some_and(|time| time.ends_with('Z')), "{joined}");
    assert!(shown["nodes"][0]["lagEvents"].take().is_u64());
    // Every setting of a test has port 0.
    let node = json!({
        "name": "a", "address": "127.0.0.1:0", "level": 1, "state": "member", "joinedAt": null, "leases": 0, "lagEvents": null,
    });
    assert_eq!(shown, json!({"node": "a", "nodes": [node], "leases": []}));
    let text = cli::stdout_of(app.data(), &["cluster"]);
    assert!(text.starts_with("NODE") && text.contains("member (this one)"), "{text}");
    assert_eq!(OperatorClient::of(&app).send(Method::GET, "/operator/cluster", None).status, 200);
    let metrics = scrape(&app);
    for (name, value) in [
        ("amoiq_cluster_nodes{state=\"member\"}", 1.0),
        ("amoiq_cluster_nodes{state=\"silent\"}", 0.0),
        ("amoiq_cluster_member", 1.0),
        ("amoiq_cluster_level", 1.0),
        ("amoiq_cluster_lowest_level", 1.0),
    ] {
        assert_eq!(metric_value(&metrics, name), Some(value), "{name}");
    }
}

fn start_node(name: &str, schema: &str, data: &Path) -> TestApp {
    launcher(name, schema, data).start()
}

fn launcher(name: &str, schema: &str, data: &Path) -> AppLauncher {
    let settings = [
        ("AMOIQ__STORE__BACKEND", "postgres"),
        ("AMOIQ__STORE__URL", &PostgresServer::shared().address()),
        ("AMOIQ__STORE__SCHEMA", schema),
        ("AMOIQ__CLUSTER__NODE", name),
        ("AMOIQ__AUTH__JWT_SECRET", "the same secret on every node, of course"),
    ];
    // What is checked at the end of other tests is a log in the data directory.
    AppLauncher::new().data(data).settings(&settings).unchecked()
}

/// A field of every object in a list.
fn each<'a>(shown: &'a Value, list: &str, field: &str) -> Vec<&'a str> {
    let items = shown[list].as_array().expect("a list");
    items.iter().map(|item| item[field].as_str().expect("a text")).collect()
}

#[test]
fn two_nodes_see_each_other_and_one_has_everything_after_the_others_death() {
    let schema = PostgresServer::shared().new_schema();
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let a = start_node("a", &schema, directories[0].path());
    let mut b = start_node("b", &schema, directories[1].path());
    cli::stdout_of(a.data(), &["tenant", "create", "acme"]);
    for number in 0..8 {
        let address = format!("https://acme.example/hook/{number}");
        cli::stdout_of(a.data(), &["webhook", "create", &address, "--tenant", "acme"]);
    }
    for (node, name) in [(&a, "a"), (&b, "b")] {
        eventually("both see each other and have some leases", || {
            let shown = cli::json_of(node.data(), &["cluster"]);
            let holders = each(&shown, "leases", "node");
            // A duty can be another node's before this one has seen it.
            let sees_both = each(&shown, "nodes", "name") == ["a", "b"];
            sees_both && holders.contains(&"a") && holders.contains(&"b") && holders.len() >= 8
        });
        let shown = cli::json_of(node.data(), &["cluster"]);
        assert_eq!(shown["node"], name);
        assert_eq!(each(&shown, "nodes", "name"), ["a", "b"]);
        assert_eq!(each(&shown, "nodes", "state"), ["member", "member"]);
        let tells_lag = |node: &Value| node["lagEvents"].is_u64();
        let lags: Vec<_> = shown["nodes"].as_array().expect("a list").iter().map(tells_lag).collect();
        assert_eq!(lags, [name == "a", name == "b"], "only the one that answers knows its own");
    }
    b.kill();
    eventually("one has everything", || {
        let shown = cli::json_of(a.data(), &["cluster"]);
        let holders = each(&shown, "leases", "node");
        each(&shown, "nodes", "name") == ["a"]
            && holders.len() >= 8
            && holders.iter().all(|&node| node == "a")
    });
    assert_eq!(metric_value(&scrape(&a), "amoiq_cluster_nodes{state=\"member\"}"), Some(1.0));
}

#[test]
fn a_node_that_drains_hands_its_leases_over_while_it_still_serves() {
    let schema = PostgresServer::shared().new_schema();
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let a = launcher("a", &schema, directories[0].path());
    let mut a = a.environment("AMOIQ__SERVER__DRAIN_SECONDS", "600").start();
    let b = start_node("b", &schema, directories[1].path());
    cli::stdout_of(a.data(), &["tenant", "create", "acme"]);
    for number in 0..8 {
        let address = format!("https://acme.example/hook/{number}");
        cli::stdout_of(a.data(), &["webhook", "create", &address, "--tenant", "acme"]);
    }
    let holders = || {
        let shown = cli::json_of(b.data(), &["cluster"]);
        each(&shown, "leases", "node").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    eventually("each has some", || holders().contains(&"a".to_owned()) && holders().len() >= 8);
    a.signal("TERM");
    eventually("the other has everything but the note of the drain", || {
        let holders = holders();
        holders.len() >= 9 && holders.iter().filter(|node| *node == "a").count() == 1
    });
    assert!(a.exit_status().is_none());
    assert_eq!(a.get(WIDGET_KEY, "/healthz").status, 200);
    // Another signal ends the drain.
    a.signal("TERM");
    eventually("it ends", || a.exit_status().is_some());
    eventually("nothing is left of it", || holders().iter().all(|node| node == "b"));
}
