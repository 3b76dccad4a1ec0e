//! What ends a session.

use std::time::Instant;

use crate::harness::{
    echo_server::{EchoServer, PATIENCE},
    engine_session::{BAD_REQUEST, ENGINE, EngineSession},
    raw_http::RawHttp,
};

#[test]
fn a_second_get_ends_the_session_the_first_gets_a_close() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    // They are equal, so it does not matter which one the server sees first.
    let (mut one, mut other) = (session.start_get(), session.start_get());
    let mut assert_answers = [one.answer(), other.answer()];
    assert_answers.sort_by_key(|answer| answer.status);
    assert_eq!(assert_answers[0].ok(), "1");
    assert_eq!(assert_answers[1].refusal(), BAD_REQUEST);
    session.assert_closed();
}

#[test]
fn two_posts_at_once_end_the_session() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut first = RawHttp::connect(&server);
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n", session.target("polling"));
    first.write(head.as_bytes());
    // A POST that arrives before the first is accepted; one that arrives during it is not.
    let start = Instant::now();
    let refused = loop {
        let second = session.post("3");
        if second.status != 200 {
            break second;
        }
        assert!(start.elapsed() < PATIENCE, "two at once are accepted");
    };
    assert_eq!(refused.status, 400);
    first.try_write(b"4hello");
    assert_eq!(first.answer().status, 400);
    session.assert_closed();
}

#[test]
fn an_undecodable_packet_is_400_and_ends_the_session() {
    let server = EchoServer::start();
    let separated = ["4a\x1e", "\x1e4a", "4a\x1e\x1e4b", "4a\x1eabc"];
    let single = ["", "abc", "7", "0", "0{}", "2", "6", "3x", "1x", "5x", "b!", "bA", "b====", "\u{20ac}"];
    for body in single.iter().chain(&separated) {
        let session = EngineSession::polling(&server, ENGINE);
        assert_eq!(session.post(body).refusal(), BAD_REQUEST, "{body:?}");
        session.assert_closed();
    }
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(session.post(b"4\xff\xfe").refusal(), BAD_REQUEST);
    session.assert_closed();
}

#[test]
fn an_undecodable_packet_on_a_websocket_closes_it() {
    let server = EchoServer::start();
    for text in ["", "abc", "7", "0", "2", "6", "3x", "1x", "5", "2probe", "bA"] {
        let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
        websocket.send_text(text);
        assert_eq!(websocket.close_code(), Some(1002), "{text:?}");
        session.wait_until_forgotten();
    }
}

#[test]
fn a_ping_of_a_client_ends_its_session() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(session.post("2").refusal(), BAD_REQUEST);
    session.assert_closed();
    let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
    websocket.send_text("2");
    websocket.close_code();
    session.wait_until_forgotten();
}

#[test]
fn a_close_answers_the_waiting_get_with_a_noop_and_later_ones_with_400() {
    let server = EchoServer::start();
    for _ in 0..10 {
        let session = EngineSession::polling(&server, ENGINE);
        let mut poll = session.start_get();
        assert_eq!(session.post("1").ok(), "ok");
        assert_eq!(poll.answer().ok(), "6");
        session.assert_closed();
    }
}

#[test]
fn a_close_before_the_get_answers_it_with_a_noop_and_later_ones_with_400() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(session.post("1").ok(), "ok");
    assert_eq!(session.get().ok(), "6");
    session.assert_closed();
}

#[test]
fn packets_after_a_close_are_ignored() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(session.post("1\x1e4late").ok(), "ok");
    assert_eq!(session.get().ok(), "6");
    session.assert_closed();
}

#[test]
fn a_close_on_a_websocket_closes_it_at_once() {
    let server = EchoServer::start();
    for path in [ENGINE, crate::harness::engine_session::SOCKET] {
        let (session, mut websocket) = EngineSession::websocket(&server, path);
        websocket.send_text("1");
        websocket.close_code();
        session.wait_until_forgotten();
    }
}

#[test]
fn an_abandoned_poll_ends_its_session() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut poll = session.start_get();
    poll.finish();
    session.wait_until_forgotten();
    assert_eq!(session.get().status, 400);
}
