//! A person is erased from a log in PostgreSQL that two nodes use: from the database, and from the directories of both.

use amoiq_testkit::{
    AppLauncher, PostgresServer, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY, cli, eventually,
    receivers::RecordingReceiver, stores::SeededDice,
};
use serde_json::json;

use super::{HERS, TRACES, found, message};
use crate::operations::stores::written_stores::say_as_ann;

/// What the documentation tells operators to run when the bytes have to go as well.
fn documented_rewrite(schema: &str) -> String {
    let page = include_str!("../../../../docs/operations/postgres.md");
    let block = page.split("```sql").find(|block| block.contains("VACUUM FULL")).expect("it is documented");
    let statements = block.split("```").next().expect("a block");
    statements.replace("amoiq.", &format!("{schema}."))
}

/// Text that no compression makes shorter, and that is kept beside its row.
fn long_text() -> String {
    let dice = SeededDice::new(7);
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    (0..9_000).map(|_| dice.pick(&letters)).collect()
}

fn two_nodes(schema: &str) -> [TestApp; 2] {
    ["a", "b"].map(|name| {
        AppLauncher::new()
            .settings(&[
                ("AMOIQ__STORE__BACKEND", "postgres"),
                ("AMOIQ__STORE__URL", &PostgresServer::shared().address()),
                ("AMOIQ__STORE__SCHEMA", schema),
                ("AMOIQ__CLUSTER__NODE", name),
                ("AMOIQ__AUTH__JWT_SECRET", "a secret that both nodes have, of some length"),
                ("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8"),
                ("AMOIQ__WEBHOOKS__SCHEDULE_MS", &["0"; 900].join(",").replace(",0", ",100")),
                ("AMOIQ__WEBHOOKS__BREAKER_MIN_MS", "20"),
                ("AMOIQ__WEBHOOKS__BREAKER_MAX_MS", "100"),
            ])
            .unchecked()
            .start()
    })
}

#[test]
fn a_user_leaves_the_database_and_the_directories_of_both_nodes() {
    let server = PostgresServer::shared();
    let schema = server.new_schema();
    let [a, b] = two_nodes(&schema);
    // Each node has an endpoint, which fails.
    let receiver = RecordingReceiver::start();
    receiver.answer(503, "not now");
    for path in ["first", "second"] {
        let hook = json!({ "url": format!("{}/{path}", receiver.url()) });
        assert_eq!(a.post(SECRET_KEY, "/api/webhooks", &hook).status, 201);
    }
    let long = long_text();
    let mut written = message(HERS[0], 41);
    written["text"] = json!(long);
    for (number, node) in [&a, &b].into_iter().cycle().take(40).enumerate() {
        assert_eq!(say_as_ann(node, "session-of-ann", &format!("ann says {number}")).status, 200);
        assert_eq!(node.post(WIDGET_KEY, "/webchat/message", &message(HERS[0], number)).status, 200);
    }
    assert_eq!(b.post(WIDGET_KEY, "/webchat/message", &written).status, 200);
    SocketClient::connect(&b, WIDGET_KEY).call("message", &message(HERS[1], 1));
    eventually("both endpoints were sent messages of hers", || {
        let lanes =
            format!("SELECT count(DISTINCT lane) FROM {schema}.deliveries WHERE session LIKE '%quentina%'");
        server.ask(&lanes) == "2"
    });
    eventually("both nodes have her in their read models", || {
        [&a, &b].iter().all(|node| !found(node.data()).is_empty())
    });

    cli::stdout_of(a.data(), &["erase", "--tenant", "demo", "--user", TRACES[6], "--yes"]);
    for node in [&a, &b] {
        for session in HERS {
            assert_eq!(node.texts(SECRET_KEY, session), Err(404));
        }
        assert_eq!(node.texts(SECRET_KEY, "session-of-ann").map(|texts| texts.len()), Ok(40));
    }
    assert_eq!(found(a.data()), [].into());
    eventually("the other node's read models have nothing of her", || found(b.data()).is_empty());
    let tried = receiver.requests().len();
    receiver.answer(200, "");
    eventually("both endpoints have everything that is left", || receiver.requests().len() >= tried + 80);
    for request in &receiver.requests()[tried..] {
        assert!(!String::from_utf8_lossy(&request.body).contains(TRACES[0]), "{request:?}");
    }
    let id_alone = format!(
        "UPDATE {schema}.signal_entries SET changed_at = changed_at - interval '1 minute' WHERE visitor IS NULL"
    );
    server.ask(&id_alone);
    eventually("the id of a visitor who left is not kept", || {
        server.ask(&format!("SELECT count(*) FROM {schema}.signal_entries WHERE visitor IS NULL")) == "0"
    });
    for table in server.ask(&format!("SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")).lines()
    {
        let rows = server.ask(&format!("SELECT r.*::text FROM {schema}.{table} r"));
        assert!(!rows.contains("quentina-77"), "{table}");
    }

    for statement in documented_rewrite(&schema).split_inclusive(';').filter(|text| text.contains(';')) {
        server.ask(statement);
    }
    let pieces = [&long[..64], &long[8_900..8_964]];
    for trace in TRACES.iter().chain(&pieces) {
        assert_eq!(server.table_files_with(trace.as_bytes()), Vec::<std::path::PathBuf>::new(), "{trace}");
    }
    assert_eq!(b.texts(SECRET_KEY, "session-of-ann").map(|texts| texts.len()), Ok(40));
}
