//! Two nodes on one log in PostgreSQL: what is done on one is known on the other.

use std::{
    thread,
    time::{Duration, Instant},
};

use amoiq_testkit::{
    AppLauncher, PostgresServer, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY, cli, eventually,
};
use serde_json::{Value, json};

const SESSION: &str = "session-0123456789abcdef";

/// How soon a key that was revoked on one node must be refused by the other.
const SOON: Duration = Duration::from_secs(1);

fn two_nodes() -> [TestApp; 2] {
    let server = PostgresServer::shared();
    let schema = server.new_schema();
    ["a", "b"].map(|name| {
        AppLauncher::new()
            .environment("AMOIQ__STORE__BACKEND", "postgres")
            .environment("AMOIQ__STORE__URL", &server.address())
            .environment("AMOIQ__STORE__SCHEMA", &schema)
            .environment("AMOIQ__CLUSTER__NODE", name)
            .environment("AMOIQ__AUTH__JWT_SECRET", "a secret that both nodes have, of some length")
            // Its read models are compared on one node only.
            .unchecked()
            .start()
    })
}

#[test]
fn a_node_that_cannot_start_is_no_member() {
    let server = PostgresServer::shared();
    let schema = server.new_schema();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let refused = AppLauncher::new().settings(&[
        ("AMOIQ__STORE__BACKEND", "postgres"),
        ("AMOIQ__STORE__URL", &server.address()),
        ("AMOIQ__STORE__SCHEMA", &schema),
        ("AMOIQ__SERVER__BIND", &address),
    ]);
    let printed = refused.try_start().map(drop).expect_err("the port is taken");
    assert!(printed.contains("server.bind"), "{printed}");
    assert_eq!(server.ask(&format!("SELECT count(*) FROM {schema}.nodes")), "0");
}

#[test]
fn what_one_node_acknowledged_is_in_the_next_answer_of_the_other() {
    let [a, b] = two_nodes();
    let token =
        a.mint_token(SECRET_KEY, &json!({ "userId": "ann", "role": "visitor", "sessionId": SESSION }));
    for number in 0..60 {
        let (writer, reader) = if number % 3 == 0 { (&b, &a) } else { (&a, &b) };
        let text = number.to_string();
        writer.say(&token, SESSION, &text);
        let in_session = reader.messages(SECRET_KEY, &format!("sessionId={SESSION}&limit=1"));
        assert_eq!(in_session.last().map(|message| &message["text"]), Some(&json!(text)));
        let of_user = reader.messages(SECRET_KEY, "userId=ann&limit=1");
        assert_eq!(of_user.last().map(|message| &message["text"]), Some(&json!(text)));
    }
    let all = b.messages(SECRET_KEY, &format!("sessionId={SESSION}"));
    assert_eq!(
        all.iter().map(|message| message["seq"].clone()).collect::<Vec<_>>(),
        (1..=60).map(Value::from).collect::<Vec<_>>()
    );
}

#[test]
fn a_repeat_on_the_other_node_is_the_same_message() {
    let [a, b] = two_nodes();
    let message = json!({ "sessionId": SESSION, "text": "once", "clientMessageId": "c-1" });
    let first = a.post(WIDGET_KEY, "/webchat/message", &message).expect_status(200);
    let again = b.post(WIDGET_KEY, "/webchat/message", &message).expect_status(200);
    assert_eq!(first["messageId"], again["messageId"]);
}

#[test]
fn sockets_of_one_node_hear_what_the_other_took_in_its_order() {
    let [a, b] = two_nodes();
    let mut visitor = SocketClient::connect_with(&b, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    let mut agent = SocketClient::connect(&b, SECRET_KEY);
    for number in 0..100 {
        let node = if number % 2 == 0 { &a } else { &b };
        node.say(WIDGET_KEY, SESSION, &number.to_string());
    }
    for socket in [&mut visitor, &mut agent] {
        for number in 0..100 {
            assert_eq!(socket.next("meta_message_created")["message"]["text"], number.to_string());
        }
    }
}

/// The next message of a socket with recovery: its text, and its offset.
fn next_message(socket: &mut SocketClient) -> (String, Value) {
    let (event, offset) = socket.next_with_offset("meta_message_created");
    (event["message"]["text"].as_str().expect("a text").to_owned(), offset)
}

#[test]
fn a_client_recovers_on_the_other_node_what_it_missed_and_nothing_else() {
    let [a, b] = two_nodes();
    let connect = |app: &TestApp, pid: &Value, offset: &Value| {
        let who = json!({ "sessionId": SESSION, "recovery": true, "pid": pid, "offset": offset });
        SocketClient::connect_with(app, WIDGET_KEY, &who)
    };
    let mut first = connect(&a, &Value::Null, &Value::Null);
    assert_eq!(first.call("message", &json!({ "text": "hello" }))["success"], true);
    let pid = first.welcome["pid"].clone();
    let (_, mut offset) = next_message(&mut first);
    drop(first);
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        for number in 0..3 {
            writer.say(WIDGET_KEY, SESSION, &format!("{round} {number}"));
        }
        let mut again = connect(reader, &pid, &offset);
        assert_eq!(again.welcome["pid"], pid, "round {round}");
        writer.say(WIDGET_KEY, SESSION, &format!("{round} 3"));
        for number in 0..4 {
            let (text, next) = next_message(&mut again);
            assert_eq!(text, format!("{round} {number}"));
            offset = next;
        }
    }
}

#[test]
fn tenants_and_keys_of_one_node_are_those_of_the_other() {
    let [a, b] = two_nodes();
    cli::json_of(a.data(), &["tenant", "create", "acme"]);
    let made = cli::json_of(a.data(), &["key", "create", "--kind", "secret", "--tenant", "acme"]);
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    let (id, key) = (text("id"), text("key"));
    assert_eq!(b.get(&key, "/api/chat/online-users").status, 200, "at once");
    let mut socket = SocketClient::connect_with(&b, &key, &json!({ "role": "admin" }));
    assert!(cli::run(a.data(), &["key", "revoke", &id, "--tenant", "acme"]).status.success());
    let revoked = Instant::now();
    let (events, _) = socket.until_closed();
    assert!(events.iter().any(|(name, _)| name == "error"), "{events:?}");
    assert_eq!(b.get(&key, "/api/chat/online-users").error(), (401, "INVALID_API_KEY"));
    assert!(revoked.elapsed() < SOON, "{:?}", revoked.elapsed());
}

#[test]
fn a_key_that_one_node_made_is_good_on_the_other_at_once() {
    let [a, b] = two_nodes();
    cli::json_of(a.data(), &["tenant", "create", "acme"]);
    for round in 0..10 {
        let made = cli::json_of(a.data(), &["key", "create", "--kind", "secret", "--tenant", "acme"]);
        let key = made["key"].as_str().expect("a key");
        if round % 2 == 0 {
            assert_eq!(b.get(key, "/api/chat/online-users").status, 200, "round {round}");
        } else {
            SocketClient::connect(&b, key);
        }
    }
    let strange = b.get("sk_that_nobody_has_made_0000", "/api/chat/online-users");
    assert_eq!(strange.error(), (401, "INVALID_API_KEY"));
}

#[test]
fn agents_of_every_node_hear_of_a_visitor_who_has_not_written_within_a_second() {
    let [a, b] = two_nodes();
    let mut agent = SocketClient::connect(&b, SECRET_KEY);
    for round in 0..5 {
        let session = format!("{SESSION}-{round}");
        let connected = Instant::now();
        let visitor = SocketClient::connect_with(&a, WIDGET_KEY, &json!({ "sessionId": session }));
        assert_eq!(agent.next("user_online")["sessionId"], session);
        assert!(connected.elapsed() < SOON, "{:?}", connected.elapsed());
        for node in [&a, &b] {
            assert_eq!(node.get(SECRET_KEY, "/api/chat/online-users").body["total"], 1);
        }
        drop(visitor);
        assert_eq!(agent.next("user_offline")["sessionId"], session);
    }
}

#[test]
fn visitors_of_a_node_that_is_killed_go_offline_on_the_others_within_fifteen_seconds() {
    let [mut a, b] = two_nodes();
    let mut agent = SocketClient::connect(&b, SECRET_KEY);
    let _silent =
        SocketClient::connect_with(&a, WIDGET_KEY, &json!({ "sessionId": "session-that-is-silent" }));
    let mut writer = SocketClient::connect_with(&a, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    assert_eq!(writer.call("message", &json!({ "text": "hello" }))["success"], true);
    let _here =
        SocketClient::connect_with(&b, WIDGET_KEY, &json!({ "sessionId": "session-that-stays-online" }));
    let online = || b.get(SECRET_KEY, "/api/chat/online-users").body["total"].clone();
    eventually("everybody is listed", || online() == 3);
    a.kill();
    let killed = Instant::now();
    let mut gone = [0, 1].map(|_| agent.next("user_offline")["sessionId"].clone());
    assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
    gone.sort_by_key(Value::to_string);
    assert_eq!(gone, [json!(SESSION), json!("session-that-is-silent")]);
    assert_eq!(online(), 1);
    assert!(agent.is_silent_for(Duration::from_secs(1)), "each is said once");
}

#[test]
fn a_message_that_no_standby_has_is_not_acknowledged_as_a_repeat_either() {
    let server = PostgresServer::start();
    let app = AppLauncher::new()
        .environment("AMOIQ__STORE__BACKEND", "postgres")
        .environment("AMOIQ__STORE__URL", &server.address())
        .unchecked()
        .start();
    let message = |text: &str| json!({ "sessionId": SESSION, "text": text, "clientMessageId": text });
    assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &message("first")).status, 200);
    server.set("synchronous_standby_names", "'away'");
    let is_waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    thread::scope(|scope| {
        let sending = scope.spawn(|| app.post(WIDGET_KEY, "/webchat/message", &message("second")).status);
        // An operator ends the wait: the server shows what only it has.
        eventually("it waits for the standby", || server.ask(is_waiting) != "0");
        server.ask("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
        assert_eq!(sending.join().expect("answered"), 503);
    });
    assert_eq!(app.texts(SECRET_KEY, SESSION), Ok(vec!["first".to_owned(), "second".to_owned()]));
    assert_eq!(app.post(WIDGET_KEY, "/webchat/message", &message("second")).status, 503);
    server.set("synchronous_standby_names", "''");
    eventually("it is acknowledged", || {
        app.post(WIDGET_KEY, "/webchat/message", &message("second")).status == 200
    });
    assert_eq!(app.texts(SECRET_KEY, SESSION), Ok(vec!["first".to_owned(), "second".to_owned()]));
}
