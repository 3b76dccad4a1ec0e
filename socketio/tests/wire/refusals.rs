//! Requests that are refused with `{"code":n,"message":…}`, and that refusing one harms no session.

use super::{
    client::{Http, request},
    frames::KEY,
    server::Server,
    session::{ENGINE, NOT_NOW, SOCKET, Session, UNKNOWN, opening_target},
};

fn refusal(server: &Server, method: &str, target: &str) -> (u16, u64) {
    let body = (method != "GET").then_some("4x".as_bytes());
    request(server, method, target, body).refusal()
}

#[test]
fn an_unknown_transport_is_400_with_code_0() {
    let server = Server::start();
    for query in ["EIO=4&transport=flash", "EIO=4&transport=", "EIO=4", "EIO=4&transport=Polling", ""] {
        assert_eq!(refusal(&server, "GET", &format!("{ENGINE}?{query}")), (400, 0), "{query}");
    }
    assert_eq!(refusal(&server, "GET", SOCKET), (400, 0));
}

#[test]
fn an_unsupported_version_is_400_with_code_5() {
    let server = Server::start();
    for version in ["EIO=3&", "EIO=5&", "EIO=abc&", "EIO=&", ""] {
        for transport in ["polling", "websocket"] {
            let target = format!("{ENGINE}?{version}transport={transport}");
            assert_eq!(refusal(&server, "GET", &target), (400, 5), "{target}");
        }
    }
}

#[test]
fn an_unknown_sid_is_400_with_code_1() {
    let server = Server::start();
    for sid in ["abc", "", "%00", "__proto__"] {
        for (method, transport) in [("GET", "polling"), ("POST", "polling"), ("GET", "websocket")] {
            let target = format!("{}&sid={sid}", opening_target(ENGINE, transport));
            assert_eq!(refusal(&server, method, &target), UNKNOWN, "{method} {target}");
        }
    }
}

#[test]
fn a_session_of_one_path_is_unknown_on_the_other() {
    let server = Server::start();
    let session = Session::polling(&server, ENGINE);
    let target = session.target("polling").replace(ENGINE, SOCKET);
    assert_eq!(refusal(&server, "GET", &target), UNKNOWN);
    session.polls_on();
}

#[test]
fn a_post_or_put_without_a_sid_is_400_with_code_2() {
    let server = Server::start();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for transport in ["polling", "websocket"] {
            let target = opening_target(ENGINE, transport);
            assert_eq!(refusal(&server, method, &target), (400, 2), "{method} {transport}");
        }
    }
}

#[test]
fn a_put_with_a_sid_is_400_and_the_session_lives_on() {
    let server = Server::start();
    let session = Session::polling(&server, ENGINE);
    assert_eq!(refusal(&server, "PUT", &session.target("polling")), (400, 2));
    session.polls_on();
}

#[test]
fn a_post_of_an_octet_stream_is_400() {
    let server = Server::start();
    let session = Session::polling(&server, ENGINE);
    let mut http = Http::connect(&server);
    let headers = [("content-type", "application/octet-stream")];
    http.send("POST", &session.target("polling"), &headers, Some(b"4hello"));
    assert_eq!(http.answer().refusal(), NOT_NOW);
}

#[test]
fn a_websocket_request_that_is_no_handshake_is_400() {
    let server = Server::start();
    let target = opening_target(ENGINE, "websocket");
    assert_eq!(refusal(&server, "GET", &target), NOT_NOW);
    let upgrade = [("upgrade", "websocket"), ("connection", "Upgrade")];
    let key = ("sec-websocket-key", KEY);
    for rest in [vec![key], vec![key, ("sec-websocket-version", "12")], vec![("sec-websocket-version", "13")]]
    {
        let mut http = Http::connect(&server);
        http.send("GET", &target, &[&upgrade[..], &rest].concat(), None);
        assert_eq!(http.answer().refusal(), NOT_NOW, "{rest:?}");
    }
}

#[test]
fn a_websocket_needs_a_key_of_16_bytes_and_no_body() {
    let server = Server::start();
    let target = opening_target(ENGINE, "websocket");
    let upgrade = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")];
    let short = "dGhlIHNhbXBsZSBub24=";
    let long = "dGhlIHNhbXBsZSBub25jZWQ=";
    for key in ["", " ", "x", short, long, "dGhlIHNhbXBsZSBub25jZQ", "!!!!IHNhbXBsZSBub25jZQ=="] {
        let mut http = Http::connect(&server);
        http.send("GET", &target, &[&upgrade[..], &[("sec-websocket-key", key)]].concat(), None);
        assert_eq!(http.answer().refusal(), NOT_NOW, "{key}");
    }
    let good = [&upgrade[..], &[("sec-websocket-key", KEY)]].concat();
    let mut http = Http::connect(&server);
    http.send("GET", &target, &[&good[..], &[("transfer-encoding", "chunked")]].concat(), None);
    assert_eq!(http.answer().refusal(), NOT_NOW);
    let mut http = Http::connect(&server);
    http.send("GET", &target, &good, Some(b"body"));
    assert_eq!(http.answer().refusal(), NOT_NOW);
}

#[test]
fn a_websocket_needs_http_1_1() {
    let server = Server::start();
    let target = opening_target(ENGINE, "websocket");
    let mut http = Http::connect(&server);
    let request = format!(
        "GET {target} HTTP/1.0\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n"
    );
    http.write(request.as_bytes());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut http.into_stream(), &mut line).expect("a line");
    assert!(line.starts_with("HTTP/1.0 400 "), "{line}");
}

#[test]
fn polling_for_a_session_on_a_websocket_is_400_and_the_session_lives_on() {
    let server = Server::start();
    let (session, mut websocket) = Session::websocket(&server, ENGINE);
    assert_eq!(session.get().refusal(), NOT_NOW);
    assert_eq!(session.post("4x").refusal(), NOT_NOW);
    super::session::echoes(&mut websocket);
}
