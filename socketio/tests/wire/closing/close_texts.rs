//! A client that breaks the protocol is told how: in the close frame of a websocket, and in the body of a 400.

use serde_json::Value;

use crate::harness::{
    echo_server::EchoServer,
    engine_session::{ENGINE, EngineSession, SOCKET, socket},
    websocket_client::{FINAL, TEXT, frame},
};

/// The longest text of a close frame (RFC 6455 §5.5.1).
const MAX_TEXT_BYTES: usize = 123;

#[test]
fn a_close_frame_says_what_was_wrong() {
    let server = EchoServer::start();
    let engine = "Not an Engine.IO 4 packet that a client may send";
    let packet = "Not a Socket.IO 5 packet that a client may send";
    for (path, said, why) in [
        (ENGINE, "abc", engine),
        (ENGINE, "", engine),
        (ENGINE, "2probe", "A packet of an upgrade that does not take place"),
        (SOCKET, "4abc", packet),
        (SOCKET, "42{}", packet),
        (SOCKET, r#"42["connect"]"#, packet),
        (SOCKET, r#"42["message"]"#, "A packet to a namespace without a CONNECT before it"),
    ] {
        let (_, mut websocket) = EngineSession::websocket(&server, path);
        websocket.send_text(said);
        let (code, text) = websocket.close();
        assert_eq!((code, text.as_str()), (Some(1002), why), "{said:?}");
        assert!(text.len() <= MAX_TEXT_BYTES);
    }
}

#[test]
fn a_close_frame_says_what_was_wrong_after_the_connect_too() {
    let server = EchoServer::start();
    for (said, why) in [
        (vec!["40"], "A second CONNECT"),
        (
            vec![r#"451-["message",{"_placeholder":true,"num":0}]"#, "41"],
            "Attachments do not follow their packet",
        ),
        (vec!["bAAAA"], "Attachments do not follow their packet"),
    ] {
        let mut websocket = socket(&server);
        said.iter().for_each(|said| websocket.send_text(said));
        assert_eq!(websocket.close(), (Some(1002), why.to_owned()), "{said:?}");
    }
}

#[test]
fn a_close_frame_says_that_a_frame_broke_the_rules() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    websocket.write(&frame(FINAL | 0x40 | TEXT, b"4x"));
    assert_eq!(websocket.close(), (Some(1002), "A frame that RFC 6455 does not allow".to_owned()));
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    websocket.send_text(&format!("4{}", "x".repeat(1_000_000)));
    assert_eq!(websocket.close(), (Some(1009), "A packet is larger than maxPayload".to_owned()));
}

#[test]
fn a_polling_client_reads_it_in_the_400() {
    let server = EchoServer::start();
    for (path, said, why) in [
        (ENGINE, "abc", "Not an Engine.IO 4 packet that a client may send"),
        (SOCKET, "42[]", "Not a Socket.IO 5 packet that a client may send"),
        (SOCKET, r#"42["message"]"#, "A packet to a namespace without a CONNECT before it"),
    ] {
        let refused = EngineSession::polling(&server, path).post(said);
        let body: Value = serde_json::from_slice(&refused.body).expect("JSON");
        assert_eq!((refused.status, body["message"].as_str()), (400, Some(why)), "{said}");
    }
}

#[test]
fn a_connect_over_16_kib_is_refused_with_the_limit_and_the_connection_stays() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, SOCKET);
    websocket.send_text(&format!(r#"40{{"token":"{}"}}"#, "x".repeat(16 * 1024)));
    let refused = websocket.text();
    let refusal: Value = serde_json::from_str(refused.strip_prefix("44").expect("a refusal")).expect("JSON");
    assert_eq!(refusal["data"]["limitBytes"], 16 * 1024, "{refused}");
    websocket.send_text("40");
    assert!(websocket.text().starts_with("40{"), "it may try with less");
}

#[test]
fn connects_over_16_kib_count_as_refusals() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, SOCKET);
    for _ in 0..5 {
        websocket.send_text(&format!(r#"40{{"token":"{}"}}"#, "x".repeat(16 * 1024)));
        assert!(websocket.text().starts_with("44{"));
    }
    websocket.send_text("40");
    assert_eq!(websocket.close(), (Some(1008), "Too many CONNECT packets on one connection".to_owned()));
}
