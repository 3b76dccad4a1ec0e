//! Two nodes on one log in a KurrentDB, with a PostgreSQL beside it for leases, deliveries and signals.

use amoiq_testkit::{
    AppLauncher, KurrentServer, PostgresServer, SECRET_KEY, SocketClient, TestApp, WIDGET_KEY, cli,
    eventually, receivers::RecordingReceiver,
};
use serde_json::{Value, json};

const SESSION: &str = "session-0123456789abcdef";

fn two_nodes(server: &KurrentServer) -> [TestApp; 2] {
    let database = PostgresServer::shared();
    let log = database.new_schema();
    ["a", "b"].map(|name| {
        let settings = [
            ("AMOIQ__STORE__BACKEND", "kurrentdb"),
            ("AMOIQ__STORE__URL", &server.address()),
            ("AMOIQ__STORE__SCHEMA", &log),
            ("AMOIQ__CLUSTER__NODE", name),
            ("AMOIQ__CLUSTER__POSTGRES", &database.address()),
            ("AMOIQ__AUTH__JWT_SECRET", "a secret that both nodes have, of some length"),
            ("AMOIQ__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8"),
        ];
        AppLauncher::new().settings(&settings).unchecked().start()
    })
}

#[test]
fn what_one_node_acknowledged_is_in_the_next_answer_of_the_other() {
    let server = KurrentServer::start();
    let [a, b] = two_nodes(&server);
    for number in 0..40 {
        let (writer, reader) = if number % 3 == 0 { (&b, &a) } else { (&a, &b) };
        let text = number.to_string();
        writer.say(WIDGET_KEY, SESSION, &text);
        let newest = reader.messages(SECRET_KEY, &format!("sessionId={SESSION}&limit=1"));
        assert_eq!(newest.last().map(|message| &message["text"]), Some(&json!(text)));
    }
    let all = b.messages(SECRET_KEY, &format!("sessionId={SESSION}"));
    let numbers: Vec<Value> = all.iter().map(|message| message["seq"].clone()).collect();
    assert_eq!(numbers, (1..=40).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn staff_of_one_node_see_the_visitors_and_messages_of_the_other() {
    let server = KurrentServer::start();
    let [a, b] = two_nodes(&server);
    let mut agent = SocketClient::connect(&b, SECRET_KEY);
    let visitor = SocketClient::connect_with(&a, WIDGET_KEY, &json!({ "sessionId": SESSION }));
    assert_eq!(agent.next("user_online")["sessionId"], SESSION);
    a.say(WIDGET_KEY, SESSION, "hello");
    assert_eq!(agent.next("meta_message_created")["message"]["text"], "hello");
    drop(visitor);
    assert_eq!(agent.next("user_offline")["sessionId"], SESSION);
}

#[test]
fn a_webhook_gets_each_message_in_order_although_its_node_dies() {
    let server = KurrentServer::start();
    let mut nodes = two_nodes(&server);
    let receiver = RecordingReceiver::start();
    let hook = json!({ "url": receiver.url() });
    assert_eq!(nodes[0].post(SECRET_KEY, "/api/webhooks", &hook).status, 201);
    let lane_is_on = |app: &TestApp| {
        let shown = cli::json_of(app.data(), &["cluster"]);
        let leases = shown["leases"].as_array().expect("a list").clone();
        let lane = leases.into_iter().find(|lease| lease["name"].as_str().is_some_and(is_lane));
        lane.map(|lease| lease["node"].as_str().expect("a text").to_owned())
    };
    let mut holder = None;
    eventually("a node has the lane", || {
        holder = lane_is_on(&nodes[0]);
        holder.is_some()
    });
    let holder = usize::from(holder.as_deref() == Some("b"));
    for number in 0..20 {
        nodes[number % 2].say(WIDGET_KEY, SESSION, &number.to_string());
    }
    nodes[holder].kill();
    for number in 20..40 {
        nodes[1 - holder].say(WIDGET_KEY, SESSION, &number.to_string());
    }
    let expected: Vec<String> = (0..40).map(|number: usize| number.to_string()).collect();
    eventually("everything is delivered", || first_texts(&receiver) == expected);
}

fn is_lane(name: &str) -> bool {
    name.contains("wh-")
}

/// What the endpoint got, each message once.
fn first_texts(receiver: &RecordingReceiver) -> Vec<String> {
    let mut texts = Vec::new();
    for request in receiver.requests() {
        let text = request.json()["data"]["text"].as_str().expect("a text").to_owned();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}
