//! More connections than are served: they are opened, left without an answer, and closed. Only who is one too many
//! for that as well is refused.

use std::time::{Duration, Instant};

use super::{
    client::{Answer, Http, request},
    frames::WebSocket,
    server::{PATIENCE, Server},
    session::{ENGINE, SOCKET, Session, opening_target, socket},
};

/// How long a client is held at the least.
const HOLD: Duration = Duration::from_millis(300);

/// A server of one connection, that holds so many others.
fn server(held: u64) -> Server {
    Server::start_with(&[("--max-connections", 1), ("--held-connections", held), ("--hold", 300)])
}

/// Knocks once at a server that is full.
fn knock(server: &Server, transport: &str) -> Answer {
    let mut http = Http::connect(server);
    let headers: &[_] = if transport == "websocket" {
        &[
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", super::frames::KEY),
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
    let (_, mut held) = Session::websocket(&server, SOCKET);
    held.send_text("40");
    held.send_text(r#"42["message"]"#);
    assert_eq!(held.close(), (Some(1013), "Overloaded: come back later".to_owned()));
    assert!(since.elapsed() >= HOLD, "closed after {:?}", since.elapsed());
    drop(served);
}

#[test]
fn one_that_says_nothing_is_held_no_longer() {
    let server = server(1);
    let served = socket(&server);
    let (_, mut held) = Session::websocket(&server, SOCKET);
    assert_eq!(held.close_code(), Some(1013), "and not by the connect timeout of 45 s");
    drop(served);
}

#[test]
fn a_client_that_polls_is_held_as_well_and_its_poll_ends_as_a_transport_that_broke() {
    let server = server(1);
    let served = socket(&server);
    let since = Instant::now();
    let session = Session::polling(&server, SOCKET);
    assert_eq!(session.post("40").ok(), "ok");
    assert_eq!(session.get().status, 400, "nothing that a client takes for final");
    assert!(since.elapsed() >= HOLD, "ended after {:?}", since.elapsed());
    session.is_dead();
    drop(served);
}

#[test]
fn the_engine_alone_holds_what_is_spoken_over_it_too() {
    let server = server(1);
    let (_, served) = Session::websocket(&server, ENGINE);
    let (_, mut held) = Session::websocket(&server, ENGINE);
    held.send_text("4hello");
    assert_eq!(held.close_code(), Some(1013), "and not echoed");
    drop(served);
}

#[test]
fn a_held_client_is_asked_whether_it_is_there_as_any_other() {
    let settings = [("--ping-interval", 100), ("--ping-timeout", 5_000)];
    let held = [("--max-connections", 1), ("--held-connections", 1), ("--hold", 1_000)];
    let server = Server::start_with(&[settings.as_slice(), held.as_slice()].concat());
    let served = socket(&server);
    let (_, mut held) = Session::websocket(&server, SOCKET);
    for _ in 0..3 {
        assert_eq!(held.text(), "2");
        held.send_text("3");
    }
    drop(served);
}

#[test]
fn over_the_bound_of_held_connections_a_client_is_refused_with_503_and_told_when_to_come_back() {
    let server = Server::start_with(&[("--max-connections", 1), ("--held-connections", 2)]);
    let served = socket(&server);
    let held = [Session::websocket(&server, SOCKET).1, Session::websocket(&server, SOCKET).1];
    for transport in ["websocket", "polling"] {
        let refused = knock(&server, transport);
        assert_eq!(refused.refusal(), (503, 4), "{transport}");
        assert!(refused.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()));
    }
    drop((served, held));
    // Every place is free again, whichever kind it was.
    let start = Instant::now();
    while knock(&server, "polling").status != 200 {
        assert!(start.elapsed() < PATIENCE, "the places are not free again");
    }
}

#[test]
fn who_comes_when_there_is_room_again_is_served_while_others_are_still_held() {
    let server = Server::start_with(&[("--max-connections", 1), ("--held-connections", 5)]);
    let served = socket(&server);
    let (_, held) = Session::websocket(&server, SOCKET);
    drop(served);
    let start = Instant::now();
    loop {
        let mut next = WebSocket::open(&server, &opening_target(SOCKET, "websocket"));
        assert!(next.text().starts_with('0'));
        next.send_text("40");
        if next.hears_within(Duration::from_millis(500)) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "nobody is served any more");
    }
    drop(held);
}

#[test]
fn an_upgrade_over_the_limit_is_refused_and_its_session_polls_on() {
    let server = server(5);
    let session = Session::joined(&server);
    let target = session.target("websocket");
    assert_eq!(request(&server, "GET", &target, None).status, 503);
    assert_eq!(session.post(r#"42["message",1]"#).ok(), "ok");
    assert_eq!(session.poll_packets(1), [r#"42["message-back",1]"#]);
}
