//! From polling to a websocket.

use std::time::{Duration, Instant};

use crate::harness::{
    echo_server::{EchoServer, PATIENCE},
    engine_session::{BAD_REQUEST, ENGINE, EngineSession, assert_echoes},
    websocket_client::WebSocket,
};

/// Upgrades a session; the websocket carries it when this returns.
fn upgraded(session: &EngineSession<'_>) -> WebSocket {
    let mut websocket = session.probe();
    websocket.send_text("5");
    assert_echoes(&mut websocket);
    websocket
}

#[test]
fn a_probe_is_answered_and_the_upgrade_carries_messages() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut websocket = upgraded(&session);
    websocket.send_binary(&[1, 2, 3]);
    assert_eq!(websocket.binary(), [1, 2, 3]);
}

#[test]
fn a_waiting_get_is_answered_with_a_noop_at_once() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut poll = session.start_get();
    let _websocket = session.probe();
    assert_eq!(poll.answer().ok(), "6");
}

#[test]
fn every_new_get_during_an_upgrade_is_answered_with_a_noop_at_once() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut websocket = session.probe();
    for _ in 0..3 {
        let start = Instant::now();
        assert_eq!(session.get().ok(), "6");
        assert!(start.elapsed() < PATIENCE, "after {:?}", start.elapsed());
    }
    websocket.send_text("5");
    assert_echoes(&mut websocket);
}

#[test]
fn after_the_upgrade_polling_is_400_and_the_websocket_lives() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut websocket = upgraded(&session);
    assert_eq!(session.get().refusal(), BAD_REQUEST);
    assert_eq!(session.post("4lost").refusal(), BAD_REQUEST);
    assert_echoes(&mut websocket);
}

#[test]
fn what_waits_during_an_upgrade_is_delivered_once_and_in_order() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(session.post("4before").ok(), "ok");
    let mut websocket = session.probe();
    assert_eq!(session.post("4one\x1ebAQI=\x1e4two").ok(), "ok");
    assert_eq!(session.post("4three").ok(), "ok");
    websocket.send_text("5");
    websocket.send_text("4after");
    for expected in ["4before", "4one"] {
        assert_eq!(websocket.text(), expected);
    }
    assert_eq!(websocket.binary(), [1, 2]);
    for expected in ["4two", "4three", "4after"] {
        assert_eq!(websocket.text(), expected);
    }
    assert_echoes(&mut websocket);
}

#[test]
fn what_a_get_fetched_during_an_upgrade_does_not_come_again() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut websocket = session.probe();
    assert_eq!(session.post("4one").ok(), "ok");
    assert_eq!(session.get().ok(), "4one");
    assert_eq!(session.post("4two").ok(), "ok");
    websocket.send_text("5");
    assert_eq!(websocket.text(), "4two");
    assert_echoes(&mut websocket);
}

#[test]
fn a_message_of_the_websocket_before_the_upgrade_ends_the_upgrade_alone() {
    let server = EchoServer::start();
    for (before, text) in [(false, "4early"), (false, "5"), (false, "2"), (true, "4early"), (true, "2probe")]
    {
        let session = EngineSession::polling(&server, ENGINE);
        let mut websocket = if before { session.probe() } else { session.second_transport() };
        websocket.send_text(text);
        websocket.close_code();
        session.assert_polls();
    }
}

#[test]
fn a_second_websocket_of_an_upgraded_session_is_accepted_then_closed() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut first = upgraded(&session);
    session.second_transport().close_code();
    assert_echoes(&mut first);
    let (session, mut first) = EngineSession::websocket(&server, ENGINE);
    session.second_transport().close_code();
    assert_echoes(&mut first);
}

#[test]
fn a_second_websocket_during_an_upgrade_is_closed_and_the_first_completes() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut first = session.probe();
    session.second_transport().close_code();
    first.send_text("5");
    assert_echoes(&mut first);
}

#[test]
fn an_upgrade_that_never_finishes_ends_after_its_time_and_polling_lives_on() {
    let server = EchoServer::start_with(&[("--upgrade-timeout", 300)]);
    for is_probed in [true, false] {
        let session = EngineSession::polling(&server, ENGINE);
        let start = Instant::now();
        let mut websocket = if is_probed { session.probe() } else { session.second_transport() };
        websocket.close_code();
        let took = start.elapsed();
        assert!((Duration::from_millis(300)..PATIENCE).contains(&took), "after {took:?}");
        session.assert_polls();
        let mut poll = session.start_get();
        assert_eq!(session.post("4waits").ok(), "ok");
        assert_eq!(poll.answer().ok(), "4waits", "a GET waits again");
    }
}

#[test]
fn after_a_failed_upgrade_another_one_succeeds() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut failed = session.probe();
    failed.send_text("4early");
    failed.close_code();
    upgraded(&session);
}

#[test]
fn a_websocket_that_breaks_during_the_upgrade_leaves_polling_as_it_was() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut websocket = session.probe();
    websocket.finish();
    websocket.ends();
    session.assert_polls();
}

#[test]
fn a_ping_during_an_upgrade_is_not_lost() {
    let server = EchoServer::start_with(&[("--ping-interval", 300)]);
    let start = Instant::now();
    let session = EngineSession::polling(&server, ENGINE);
    let mut websocket = session.probe();
    websocket.send_text("5");
    assert_eq!(websocket.text(), "2");
    assert!(start.elapsed() >= Duration::from_millis(300), "after {:?}", start.elapsed());
    websocket.send_text("3");
    assert_echoes(&mut websocket);
}

#[test]
fn a_socket_keeps_its_namespaces_through_the_upgrade() {
    let server = EchoServer::start();
    let session = EngineSession::joined(&server);
    let mut websocket = session.probe();
    websocket.send_text("5");
    crate::harness::engine_session::assert_answers(&mut websocket);
}
