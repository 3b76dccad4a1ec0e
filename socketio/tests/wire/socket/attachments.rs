//! Binary events and acknowledgements.

use crate::harness::{
    echo_server::EchoServer,
    engine_session::{EngineSession, SOCKET, assert_answers, join, socket},
    websocket_client::WebSocket,
};

const PLACEHOLDER: &str = r#"{"_placeholder":true,"num":0}"#;

/// Checks that the server closes a client that sends this packet and the attachments after it.
fn assert_closes(server: &EchoServer, packet: &str, attachments: usize) {
    let (session, mut websocket) = EngineSession::websocket(server, SOCKET);
    join(&mut websocket, "");
    websocket.send_text(packet);
    for _ in 0..attachments {
        // It may be closed before the last one.
        websocket.try_write(&crate::harness::websocket_client::frame(
            crate::harness::websocket_client::FINAL | crate::harness::websocket_client::BINARY,
            b"x",
        ));
    }
    assert_eq!(websocket.close_code(), Some(1002), "{packet}");
    session.wait_until_forgotten();
}

/// The event's name and arguments with so many placeholders.
fn event(name: &str, attachments: usize) -> String {
    let placeholders = (0..attachments).map(|num| format!(r#",{{"_placeholder":true,"num":{num}}}"#));
    format!(r#"["{name}"{}]"#, placeholders.collect::<String>())
}

fn assert_echoes_attachments(websocket: &mut WebSocket, count: usize) {
    websocket.send_text(&format!("45{count}-{}", event("message", count)));
    for number in 0..count {
        websocket.send_binary(format!("attachment {number} \u{0}").as_bytes());
    }
    assert_eq!(websocket.text(), format!("45{count}-{}", event("message-back", count)));
    for number in 0..count {
        assert_eq!(websocket.binary(), format!("attachment {number} \u{0}").as_bytes());
    }
}

#[test]
fn a_binary_event_is_answered_with_its_attachments() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    assert_echoes_attachments(&mut websocket, 1);
    assert_echoes_attachments(&mut websocket, 3);
    assert_answers(&mut websocket);
}

#[test]
fn a_binary_event_is_acknowledged_with_its_attachments() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    join(&mut websocket, "/custom,");
    for namespace in ["", "/custom,"] {
        websocket.send_text(&format!(r#"451-{namespace}789["message-with-ack",1,{PLACEHOLDER}]"#));
        websocket.send_binary(&[0, 255]);
        assert_eq!(websocket.text(), format!("461-{namespace}789[1,{PLACEHOLDER}]"));
        assert_eq!(websocket.binary(), [0, 255]);
    }
}

#[test]
fn a_binary_event_over_polling_is_answered_alike() {
    let server = EchoServer::start();
    let session = EngineSession::joined(&server);
    let event = format!(r#"451-["message",{PLACEHOLDER}]"#);
    assert_eq!(session.post(format!("{event}\x1ebAQID")).ok(), "ok");
    let echo = format!(r#"451-["message-back",{PLACEHOLDER}]"#);
    assert_eq!(session.poll_packets(2), [echo, "bAQID".to_owned()]);
}

#[test]
fn ten_attachments_are_accepted_and_eleven_are_not() {
    let server = EchoServer::start();
    assert_echoes_attachments(&mut socket(&server), 10);
    assert_closes(&server, &format!("4511-{}", event("message", 11)), 0);
    assert_closes(&server, &format!("4599999999999999999999-{}", event("message", 1)), 0);
}

#[test]
fn a_placeholder_may_be_at_any_depth() {
    let server = EchoServer::start();
    let mut websocket = socket(&server);
    let deep = format!("{}{PLACEHOLDER}{}", "[{\"a\":".repeat(50), "}]".repeat(50));
    websocket.send_text(&format!(r#"451-["message",{{"b":[0,{deep}]}}]"#));
    websocket.send_binary(b"deep");
    assert_eq!(websocket.text(), format!(r#"451-["message-back",{{"b":[0,{deep}]}}]"#));
    assert_eq!(websocket.binary(), b"deep");
}

#[test]
fn a_placeholder_that_refers_to_no_attachment_closes_the_connection() {
    let server = EchoServer::start();
    for num in ["1", "10", "-1", "\"0\"", "0.5", "null", "1e3"] {
        let placeholder = format!(r#"{{"_placeholder":true,"num":{num}}}"#);
        assert_closes(&server, &format!(r#"451-["message",{placeholder}]"#), 1);
        assert_closes(&server, &format!(r#"451-["message",[{{"a":{placeholder}}}]]"#), 1);
        assert_closes(&server, &format!("461-1[{placeholder}]"), 1);
    }
    assert_closes(&server, r#"451-["message",{"_placeholder":true}]"#, 1);
}

#[test]
fn a_packet_with_a_malformed_attachment_count_closes_the_connection() {
    let server = EchoServer::start();
    for packet in [r#"45["message"]"#, r#"451["message"]"#, r#"45-["message"]"#, r#"45+1-["message"]"#] {
        assert_closes(&server, packet, 0);
    }
    assert_closes(&server, "46-1[]", 0);
    assert_closes(&server, r#"451-["disconnect"]"#, 1);
}

#[test]
fn text_while_attachments_are_missing_closes_the_connection() {
    let server = EchoServer::start();
    for text in [r#"42["message"]"#, "41", r#"451-["message"]"#] {
        let (session, mut websocket) = EngineSession::websocket(&server, SOCKET);
        join(&mut websocket, "");
        websocket.send_text(&format!("452-{}", event("message", 2)));
        websocket.send_binary(b"one of two");
        websocket.send_text(text);
        assert_eq!(websocket.close_code(), Some(1002), "{text}");
        session.wait_until_forgotten();
    }
}

#[test]
fn binary_that_nobody_announced_closes_the_connection() {
    let server = EchoServer::start();
    let (session, mut websocket) = EngineSession::websocket(&server, SOCKET);
    join(&mut websocket, "");
    websocket.send_binary(b"hello");
    assert_eq!(websocket.close_code(), Some(1002));
    session.wait_until_forgotten();
    let mut websocket = socket(&server);
    assert_echoes_attachments(&mut websocket, 1);
    websocket.send_binary(b"one too many");
    assert_eq!(websocket.close_code(), Some(1002));
}

#[test]
fn attachments_that_together_are_over_the_limit_are_refused() {
    let server = EchoServer::start_with(&[("--max-payload", 10_000)]);
    let packet = format!("452-{}", event("message", 2));
    // The packet counts too, without the engine's digit.
    let room = 10_000 - (packet.len() - 1);
    let mut websocket = socket(&server);
    websocket.send_text(&packet);
    websocket.send_binary(&vec![1; room - 5_000]);
    websocket.send_binary(&[2; 5_000]);
    assert_eq!(websocket.text(), format!("452-{}", event("message-back", 2)));
    assert_eq!((websocket.binary().len(), websocket.binary().len()), (room - 5_000, 5_000));
    websocket.send_text(&packet);
    websocket.send_binary(&vec![1; room - 5_000]);
    websocket.send_binary(&[2; 5_001]);
    assert_eq!(websocket.close_code(), Some(1009));
}
