//! The heartbeat. Lower bounds are strict, because a client can only see things late; upper bounds are generous, because
//! the machine may be busy.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::harness::{
    echo_server::{EchoServer, PATIENCE},
    engine_session::{ENGINE, EngineSession, SOCKET, assert_echoes},
};

const INTERVAL: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_millis(200);

fn server() -> EchoServer {
    EchoServer::start_with(&[("--ping-interval", 300), ("--ping-timeout", 200)])
}

/// A server for clients that answer, even on a busy machine.
fn patient_server() -> EchoServer {
    EchoServer::start_with(&[("--ping-interval", 300), ("--ping-timeout", 700)])
}

/// Waits until an instant that is the subject of a test.
fn sleep_until(until: Instant) {
    thread::sleep(until.saturating_duration_since(Instant::now()));
}

#[test]
fn the_first_ping_on_a_websocket_comes_only_after_the_interval() {
    let server = server();
    for path in [ENGINE, SOCKET] {
        let start = Instant::now();
        let (_, mut websocket) = EngineSession::websocket(&server, path);
        assert_eq!(websocket.text(), "2");
        assert!((INTERVAL..PATIENCE).contains(&start.elapsed()), "after {:?}", start.elapsed());
    }
}

#[test]
fn the_first_ping_on_polling_comes_only_after_the_interval() {
    let server = server();
    let start = Instant::now();
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(session.get().ok(), "2");
    assert!((INTERVAL..PATIENCE).contains(&start.elapsed()), "after {:?}", start.elapsed());
}

#[test]
fn a_client_that_answers_stays_and_gets_the_next_ping_after_the_interval() {
    let server = patient_server();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1_300) {
        assert_eq!(websocket.text(), "2");
        websocket.send_text("3");
    }
    assert_eq!(websocket.text(), "2");
    let answered = Instant::now();
    websocket.send_text("3");
    assert_eq!(websocket.text(), "2");
    assert!(answered.elapsed() >= INTERVAL, "after {:?}", answered.elapsed());
}

#[test]
fn a_polling_client_that_answers_stays() {
    let server = patient_server();
    let session = EngineSession::polling(&server, ENGINE);
    for _ in 0..4 {
        assert_eq!(session.get().ok(), "2");
        assert_eq!(session.post("3").ok(), "ok");
    }
    assert_eq!(session.get().ok(), "2", "beyond the deadline of the first ping");
}

#[test]
fn a_websocket_that_does_not_answer_is_closed_after_interval_and_timeout() {
    let server = server();
    let start = Instant::now();
    let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
    assert_eq!(websocket.text(), "2");
    let _code = websocket.close_code();
    assert!((INTERVAL + TIMEOUT..PATIENCE).contains(&start.elapsed()), "after {:?}", start.elapsed());
    session.wait_until_forgotten();
}

#[test]
fn messages_are_no_answer_to_a_ping() {
    let server = patient_server();
    let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
    assert_eq!(websocket.text(), "2");
    assert_echoes(&mut websocket);
    let _code = websocket.close_code();
    session.wait_until_forgotten();
}

#[test]
fn a_poll_of_a_client_that_does_not_answer_ends_after_interval_and_timeout() {
    let server = server();
    let start = Instant::now();
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(session.get().ok(), "2");
    let last = session.get();
    assert!((INTERVAL + TIMEOUT..PATIENCE).contains(&start.elapsed()), "after {:?}", start.elapsed());
    assert!(last.status == 400 || last.ok() == "1", "{last:?}");
    session.assert_closed();
}

#[test]
fn a_client_that_never_polls_is_gone_after_the_deadline() {
    let server = server();
    let session = EngineSession::polling(&server, ENGINE);
    sleep_until(Instant::now() + INTERVAL + TIMEOUT + Duration::from_millis(20));
    session.assert_closed();
}

#[test]
fn a_request_after_the_deadline_is_refused_even_if_the_timer_is_late() {
    let server = server();
    let session = EngineSession::polling(&server, ENGINE);
    let opened = Instant::now();
    server.signal("STOP");
    let mut poll = session.start_get();
    sleep_until(opened + INTERVAL + TIMEOUT + Duration::from_millis(50));
    server.signal("CONT");
    assert_eq!(poll.answer().status, 400);
    session.assert_closed();
}

#[test]
fn an_unexpected_pong_delays_no_ping() {
    let server = patient_server();
    let session = EngineSession::polling(&server, ENGINE);
    let since = Instant::now();
    let asked = thread::scope(|scope| {
        let poll = scope.spawn(|| session.get().ok().to_owned());
        while !poll.is_finished() && since.elapsed() < PATIENCE {
            assert_eq!(session.post("3").status, 200);
        }
        poll.is_finished().then(|| poll.join().expect("a poll"))
    });
    assert_eq!(asked.as_deref(), Some("2"));
}
