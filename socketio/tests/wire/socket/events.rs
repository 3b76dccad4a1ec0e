//! Events, acknowledgements, and packets that no client may send.

use crate::harness::{
    echo_server::EchoServer,
    engine_session::{BAD_REQUEST, EngineSession, SOCKET, assert_answers, join, socket},
};

/// Checks that the server closes a client that sends this.
fn assert_closes(server: &EchoServer, packet: &str) {
    let (session, mut websocket) = EngineSession::websocket(server, SOCKET);
    join(&mut websocket, "");
    websocket.send_text(packet);
    let said: String = packet.chars().take(60).collect();
    assert_eq!(websocket.close_code(), Some(1002), "{said}");
    session.wait_until_forgotten();
}

#[test]
fn an_event_is_answered_with_its_arguments() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    for args in ["", r#",1,"2",{"3":[true]}"#, r#",null"#, r#",1.5e300,"\u0000\"""#, r#","€""#] {
        websocket.send_text(&format!(r#"42["message"{args}]"#));
        assert_eq!(websocket.text(), format!(r#"42["message-back"{args}]"#));
    }
}

#[test]
fn an_event_that_nobody_handles_is_ignored() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    websocket.send_text(r#"42["unheard",1]"#);
    assert_answers(&mut websocket);
}

#[test]
fn an_event_with_an_id_is_acknowledged_under_it() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    for id in ["0", "7", "456", "9007199254740991"] {
        websocket.send_text(&format!(r#"42{id}["message-with-ack",1,"2",{{"3":[false]}}]"#));
        assert_eq!(websocket.text(), format!(r#"43{id}[1,"2",{{"3":[false]}}]"#));
    }
    join(&mut websocket, "/custom,");
    websocket.send_text(r#"42/custom,12["message-with-ack"]"#);
    assert_eq!(websocket.text(), "43/custom,12[]");
}

#[test]
fn an_acknowledgement_that_nobody_asked_for_is_ignored() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    websocket.send_text("431[1]");
    assert_answers(&mut websocket);
}

#[test]
fn events_sent_together_are_answered_in_order() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    for number in 0..500 {
        websocket.send_text(&format!("42{number}[\"message-with-ack\",{number}]"));
    }
    for number in 0..500 {
        assert_eq!(websocket.text(), format!("43{number}[{number}]"));
    }
}

#[test]
fn an_event_before_the_connect_closes_the_connection() {
    let server = EchoServer::start();
    for packet in [r#"42["message"]"#, r#"42/custom,["message"]"#, "431[]", "41"] {
        let (session, mut websocket) = EngineSession::websocket(&server, SOCKET);
        websocket.send_text(packet);
        websocket.close_code();
        session.wait_until_forgotten();
    }
    let (_, mut websocket) = EngineSession::websocket(&server, SOCKET);
    join(&mut websocket, "");
    websocket.send_text(r#"42/custom,["message"]"#);
    websocket.close_code();
}

#[test]
fn a_reserved_event_name_closes_the_connection() {
    let server = EchoServer::start();
    let names = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
    for name in names {
        assert_closes(&server, &format!(r#"42["{name}"]"#));
        assert_closes(&server, &format!(r#"427["{name}",1]"#));
    }
    assert_closes(&server, r#"42["\u0063onnect"]"#);
    assert_closes(&server, r#"42[ "disconnect" ]"#);
}

#[test]
fn invalid_json_closes_the_connection() {
    let server = EchoServer::start();
    for packet in [
        r#"42["message""#,
        r#"42["message",]"#,
        r#"42["message"]x"#,
        r#"42["message",{"a":}]"#,
        r#"42["message","\ud800"#,
        "42['message']",
        "42[\"message\",\"\u{1}\"]",
        "42[NaN]",
        r#"40/custom,{"a""#,
        "431[",
    ] {
        assert_closes(&server, packet);
    }
}

#[test]
fn a_malformed_packet_closes_the_connection() {
    let server = EchoServer::start();
    for packet in [
        "4",
        "47",
        "4abc",
        "49[\"message\"]",
        "42",
        "42{}",
        "42[]",
        "42[true]",
        "42[null]",
        "42\"message\"",
        "42abc[\"message\"]",
        "42-1[\"message\"]",
        "4299999999999999999999[\"message\"]",
        "40/custom,[]",
        "40/custom,\"a\"",
        "41{}",
        "43[]",
        "431{}",
        "431",
    ] {
        assert_closes(&server, packet);
    }
}

#[test]
fn a_connect_error_of_a_client_closes_the_connection() {
    let server = EchoServer::start();
    assert_closes(&server, r#"44{"message":"x"}"#);
    assert_closes(&server, "44");
}

#[test]
fn a_malformed_packet_over_polling_is_400_and_ends_the_session() {
    let server = EchoServer::start();
    let session = EngineSession::joined(&server);
    assert_eq!(session.post("42{}").refusal(), BAD_REQUEST);
    session.assert_closed();
}

#[test]
fn json_of_any_depth_neither_crashes_nor_hangs_the_server() {
    let server = EchoServer::start();
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let objects = "{\"a\":".repeat(100_000);
    for packet in [
        format!("42{open}"),
        format!("42[\"message\",{open}"),
        format!("42[\"message\",{objects}"),
        format!("40/custom,{{\"a\":{}", "[".repeat(10_000)),
        format!("431{open}"),
        format!("451-[\"message\",{open}"),
    ] {
        assert_closes(&server, &packet);
        assert_answers(&mut socket(&server));
    }
    let mut websocket = socket(&server);
    websocket.send_text(&format!("42[\"message\",{open}{close}]"));
    assert_eq!(websocket.text(), format!("42[\"message-back\",{open}{close}]"));
}
