//! More connections than are served: the server accepts them, leaves them without an answer, and closes them. It
//! refuses only those beyond the limit of held connections.

use std::time::{Duration, Instant};

use crate::harness::{
    echo_server::{EchoServer, PATIENCE},
    engine_session::{ENGINE, EngineSession, SOCKET, opening_target, socket},
    raw_http::{RawHttp, RawResponse, request},
    websocket_client::WebSocket,
};

/// The shortest hold.
const HOLD: Duration = Duration::from_millis(300);

/// A server that serves one connection and holds so many others.
fn server(held: u64) -> EchoServer {
    EchoServer::start_with(&[("--max-connections", 1), ("--held-connections", held), ("--hold", 300)])
}

/// Tries once to open a session at a full server.
fn open_once(server: &EchoServer, transport: &str) -> RawResponse {
    let mut http = RawHttp::connect(server);
    let headers: &[_] = if transport == "websocket" {
        &[
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", crate::harness::websocket_client::KEY),
        ]
    } else {
        &[]
    };
    http.send("GET", &opening_target(SOCKET, transport), headers, None);
    http.answer()
}

#[test]
fn a_websocket_over_the_limit_gets_no_answer_to_its_connect_and_is_closed_with_1013_after_a_while() {
    let server = server(2);
    let served = socket(&server);
    let since = Instant::now();
    let (_, mut held) = EngineSession::websocket(&server, SOCKET);
    held.send_text("40");
    held.send_text(r#"42["message"]"#);
    assert_eq!(held.close(), (Some(1013), "Overloaded: come back later".to_owned()));
    assert!(since.elapsed() >= HOLD, "closed after {:?}", since.elapsed());
    drop(served);
}

#[test]
fn a_silent_client_is_held_no_longer_than_others() {
    let server = server(1);
    let served = socket(&server);
    let (_, mut held) = EngineSession::websocket(&server, SOCKET);
    assert_eq!(held.close_code(), Some(1013), "and not by the connect timeout of 45 s");
    drop(served);
}

#[test]
fn a_polling_client_is_held_too_and_its_poll_ends_like_a_broken_transport() {
    let server = server(1);
    let served = socket(&server);
    let since = Instant::now();
    let session = EngineSession::polling(&server, SOCKET);
    assert_eq!(session.post("40").ok(), "ok");
    assert_eq!(session.get().status, 400, "clients take a 400 for a broken transport, not for final");
    assert!(since.elapsed() >= HOLD, "ended after {:?}", since.elapsed());
    session.assert_closed();
    drop(served);
}

#[test]
fn the_engine_holds_clients_without_socket_io_too() {
    let server = server(1);
    let (_, served) = EngineSession::websocket(&server, ENGINE);
    let (_, mut held) = EngineSession::websocket(&server, ENGINE);
    held.send_text("4hello");
    assert_eq!(held.close_code(), Some(1013), "and not echoed");
    drop(served);
}

#[test]
fn a_held_client_gets_pings_like_any_other() {
    let settings = [("--ping-interval", 100), ("--ping-timeout", 5_000)];
    let held = [("--max-connections", 1), ("--held-connections", 1), ("--hold", 1_000)];
    let server = EchoServer::start_with(&[settings.as_slice(), held.as_slice()].concat());
    let served = socket(&server);
    let (_, mut held) = EngineSession::websocket(&server, SOCKET);
    for _ in 0..3 {
        assert_eq!(held.text(), "2");
        held.send_text("3");
    }
    drop(served);
}

#[test]
fn beyond_the_held_connections_a_client_is_refused_with_503_and_told_when_to_return() {
    let server = EchoServer::start_with(&[("--max-connections", 1), ("--held-connections", 2)]);
    let served = socket(&server);
    let held = [EngineSession::websocket(&server, SOCKET).1, EngineSession::websocket(&server, SOCKET).1];
    for transport in ["websocket", "polling"] {
        let refused = open_once(&server, transport);
        assert_eq!(refused.refusal(), (503, 4), "{transport}");
        assert!(refused.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()));
    }
    drop((served, held));
    // Both limits have room again.
    let start = Instant::now();
    while open_once(&server, "polling").status != 200 {
        assert!(start.elapsed() < PATIENCE, "the limits have no room again");
    }
}

#[test]
fn a_client_that_comes_when_there_is_room_is_served_while_others_are_held() {
    let server = EchoServer::start_with(&[("--max-connections", 1), ("--held-connections", 5)]);
    let served = socket(&server);
    let (_, held) = EngineSession::websocket(&server, SOCKET);
    drop(served);
    let start = Instant::now();
    loop {
        let mut next = WebSocket::open(&server, &opening_target(SOCKET, "websocket"));
        assert!(next.text().starts_with('0'));
        next.send_text("40");
        if next.receives_within(Duration::from_millis(500)) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "no client is served any more");
    }
    drop(held);
}

#[test]
fn an_upgrade_over_the_limit_is_refused_and_its_session_polls_on() {
    let server = server(5);
    let session = EngineSession::joined(&server);
    let target = session.target("websocket");
    assert_eq!(request(&server, "GET", &target, None).status, 503);
    assert_eq!(session.post(r#"42["message",1]"#).ok(), "ok");
    assert_eq!(session.poll_packets(1), [r#"42["message-back",1]"#]);
}
