//! Connecting to namespaces and leaving them.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{
    echo_server::{EchoServer, PATIENCE},
    engine_session::{EngineSession, SOCKET, assert_answers, join, socket},
    websocket_client::CLOSE,
};

#[test]
fn a_connect_is_answered_with_a_fresh_sid_and_nothing_else() {
    let server = EchoServer::start();
    let mut sids = HashSet::new();
    for auth in ["", "{}", r#"{"token":"x"}"#] {
        let (session, mut websocket) = EngineSession::websocket(&server, SOCKET);
        websocket.send_text(&format!("40{auth}"));
        let answer = websocket.text();
        let welcome: Value =
            serde_json::from_str(answer.strip_prefix("40").expect("a connect")).expect("JSON");
        assert_eq!(welcome, json!({ "sid": welcome["sid"] }));
        let sid = welcome["sid"].as_str().expect("a sid").to_owned();
        assert_ne!(sid, session.sid, "the engine's sid is a secret of its transport");
        assert!(sid.len() >= 16, "{sid}");
        sids.insert(sid);
    }
    assert_eq!(sids.len(), 3);
}

#[test]
fn a_connect_over_polling_is_answered_alike() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, SOCKET);
    assert_eq!(session.post("40").ok(), "ok");
    let answer = session.get();
    let packet = answer.ok().split('\x1e').next().and_then(|packet| packet.strip_prefix("40"));
    let welcome: Value = serde_json::from_str(packet.expect("a connect")).expect("JSON");
    assert_eq!(welcome, json!({ "sid": welcome["sid"] }));
    assert_ne!(welcome["sid"], session.sid);
}

#[test]
fn the_application_gets_what_a_client_connects_with() {
    let server = EchoServer::start();
    for (namespace, prefix) in [("", ""), ("/custom,", "/custom,")] {
        let (_, mut websocket) = EngineSession::websocket(&server, SOCKET);
        websocket.send_text(&format!(r#"40{namespace}{{"token":"a","deep":[1,{{"b":null}}]}}"#));
        assert!(websocket.text().starts_with(&format!("40{prefix}{{\"sid\":")));
        let event = websocket.text();
        let event: Value =
            serde_json::from_str(event.strip_prefix(&format!("42{prefix}")).expect("an event"))
                .expect("JSON");
        assert_eq!(event, json!(["auth", { "token": "a", "deep": [1, { "b": null }] }]));
    }
}

#[test]
fn a_refused_client_is_told_the_message_and_the_data() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, SOCKET);
    websocket.send_text(r#"40{"refuse":{"error":"no","code":"DENIED","details":{}}}"#);
    let answer = websocket.text();
    let refusal: Value = serde_json::from_str(answer.strip_prefix("44").expect("a refusal")).expect("JSON");
    let data = json!({ "error": "no", "code": "DENIED", "details": {} });
    assert_eq!(refusal, json!({ "message": "REFUSED", "data": data }));
    join(&mut websocket, "");
}

#[test]
fn an_unknown_namespace_is_refused_and_the_connection_stays() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, SOCKET);
    for name in ["/random", "/CUSTOM", "/custom/", "/Ünï"] {
        websocket.send_text(&format!("40{name},"));
        assert_eq!(websocket.text(), format!(r#"44{name},{{"message":"Invalid namespace"}}"#));
    }
    websocket.send_text("40/random");
    assert_eq!(websocket.text(), r#"44/random,{"message":"Invalid namespace"}"#);
    join(&mut websocket, "");
    assert_answers(&mut websocket);
}

#[test]
fn without_a_connect_the_connection_is_closed_after_the_connect_timeout() {
    let server = EchoServer::start_with(&[("--connect-timeout", 400), ("--ping-interval", 150)]);
    let start = Instant::now();
    let (session, mut websocket) = EngineSession::websocket(&server, SOCKET);
    // Answers the ping, so that the heartbeat does not end the session.
    assert_eq!(websocket.text(), "2");
    websocket.send_text("3");
    let last = loop {
        match websocket.frame() {
            Some(frame) if frame.payload == b"2" => websocket.send_text("3"),
            last => break last.map(|frame| frame.opcode),
        }
    };
    assert_eq!(last, Some(CLOSE));
    let took = start.elapsed();
    assert!((Duration::from_millis(400)..PATIENCE).contains(&took), "after {took:?}");
    session.wait_until_forgotten();
}

#[test]
fn a_client_that_connects_in_time_stays_beyond_the_connect_timeout() {
    let server = EchoServer::start_with(&[("--connect-timeout", 500), ("--ping-interval", 600)]);
    let mut websocket = socket(&server);
    // The ping shows that the connect timeout is over.
    assert_eq!(websocket.text(), "2");
    assert_answers(&mut websocket);
}

#[test]
fn a_client_that_connects_and_leaves_in_time_stays_beyond_the_connect_timeout() {
    let server = EchoServer::start_with(&[("--connect-timeout", 500), ("--ping-interval", 600)]);
    let mut websocket = socket(&server);
    websocket.send_text("41");
    assert_eq!(websocket.text(), "2");
    join(&mut websocket, "");
    assert_answers(&mut websocket);
}

#[test]
fn a_second_connect_to_the_same_namespace_closes_the_connection() {
    let server = EchoServer::start();
    for namespace in ["", "/custom,"] {
        let (session, mut websocket) = EngineSession::websocket(&server, SOCKET);
        join(&mut websocket, namespace);
        websocket.send_text(&format!("40{namespace}"));
        websocket.close_code();
        session.wait_until_forgotten();
    }
}

#[test]
fn a_disconnect_leaves_the_namespace_and_keeps_the_connection() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    websocket.send_text("41");
    let first = join(&mut websocket, "");
    websocket.send_text("41");
    assert_ne!(join(&mut websocket, ""), first, "another socket");
    assert_answers(&mut websocket);
}

#[test]
fn an_event_to_a_namespace_that_was_left_closes_the_connection() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    websocket.send_text("41");
    websocket.send_text(r#"42["message"]"#);
    websocket.close_code();
}

#[test]
fn namespaces_are_independent() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, SOCKET);
    let main = join(&mut websocket, "");
    let custom = join(&mut websocket, "/custom,");
    assert_ne!(main, custom);
    websocket.send_text(r#"42/custom,["message",1]"#);
    assert_eq!(websocket.text(), r#"42/custom,["message-back",1]"#);
    assert_answers(&mut websocket);
    websocket.send_text("41/custom,");
    assert_answers(&mut websocket);
    websocket.send_text(r#"42/custom,["message",1]"#);
    websocket.close_code();
}

#[test]
fn each_namespace_can_be_left_and_joined_again() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, SOCKET);
    join(&mut websocket, "");
    join(&mut websocket, "/custom,");
    websocket.send_text("41/custom,");
    join(&mut websocket, "/custom,");
    websocket.send_text("41");
    join(&mut websocket, "");
    assert_answers(&mut websocket);
}
