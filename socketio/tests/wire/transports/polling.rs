//! The polling transport without errors.

use crate::harness::{
    echo_server::EchoServer,
    engine_session::{ENGINE, EngineSession, opening_target},
    raw_http::RawHttp,
};

#[test]
fn a_get_answers_plain_text_that_is_not_stored() {
    let server = EchoServer::start();
    let mut http = RawHttp::connect(&server);
    http.send("GET", &opening_target(ENGINE, "polling"), &[], None);
    let open = http.answer();
    let session = EngineSession::polling(&server, ENGINE);
    session.post("4hello");
    for answer in [open, session.get()] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn a_post_answers_ok_as_html() {
    let server = EchoServer::start();
    let answer = EngineSession::polling(&server, ENGINE).post("4hello");
    assert_eq!(answer.ok(), "ok");
    assert_eq!(answer.header("content-type"), Some("text/html"));
}

#[test]
fn a_get_waits_for_packets() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut poll = session.start_get();
    assert_eq!(session.post("4hello").ok(), "ok");
    assert_eq!(poll.answer().ok(), "4hello");
}

#[test]
fn a_get_answers_with_all_packets_between_separators() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    for message in ["4first", "4", "4third €"] {
        assert_eq!(session.post(message).ok(), "ok");
    }
    assert_eq!(session.get().ok(), "4first\x1e4\x1e4third €");
}

#[test]
fn a_post_brings_several_packets_between_separators() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(session.post("4first\x1e3\x1e4second\x1ebAQID\x1e4").ok(), "ok");
    assert_eq!(session.get().ok(), "4first\x1e4second\x1ebAQID\x1e4");
}

#[test]
fn binary_is_base64_on_polling() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    for message in ["bAQIDBA==", "b", "b/+8=", "bHh4e"] {
        assert_eq!(session.post(message).ok(), "ok");
        assert_eq!(session.get().ok(), message);
    }
}

#[test]
fn one_connection_carries_requests_one_after_the_other() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut http = RawHttp::connect(&server);
    for number in 0..20 {
        let message = format!("4{number}");
        http.send("POST", &session.target("polling"), &[], Some(message.as_bytes()));
        assert_eq!(http.answer().ok(), "ok");
        http.send("GET", &session.target("polling"), &[], None);
        assert_eq!(http.answer().ok(), message);
    }
}

#[test]
fn a_post_may_come_in_chunks() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut http = RawHttp::connect(&server);
    http.send("POST", &session.target("polling"), &[("transfer-encoding", "chunked")], None);
    for piece in ["3\r\n4he\r\n", "3\r\nllo\r\n", "0\r\n\r\n"] {
        http.write(piece.as_bytes());
    }
    assert_eq!(http.answer().ok(), "ok");
    assert_eq!(session.get().ok(), "4hello");
}

#[test]
fn many_events_in_one_payload_are_echoed_in_order() {
    let server = EchoServer::start();
    let session = EngineSession::joined(&server);
    let events: Vec<_> = (0..1_000).map(|number| format!("42[\"message\",{number}]")).collect();
    assert_eq!(session.post(events.join("\x1e")).ok(), "ok");
    let expected: Vec<_> = (0..1_000).map(|number| format!("42[\"message-back\",{number}]")).collect();
    assert_eq!(session.poll_packets(1_000), expected);
}
