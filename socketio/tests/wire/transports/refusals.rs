//! Requests that are refused with `{"code":n,"message":…}`. Refusing one harms no session.

use crate::harness::{
    echo_server::EchoServer,
    engine_session::{BAD_REQUEST, ENGINE, EngineSession, SOCKET, UNKNOWN_SID, opening_target},
    raw_http::{RawHttp, request},
    websocket_client::KEY,
};

fn refusal(server: &EchoServer, method: &str, target: &str) -> (u16, u64) {
    let body = (method != "GET").then_some("4x".as_bytes());
    request(server, method, target, body).refusal()
}

#[test]
fn an_unknown_transport_is_400_with_code_0() {
    let server = EchoServer::start();
    for query in ["EIO=4&transport=flash", "EIO=4&transport=", "EIO=4", "EIO=4&transport=Polling", ""] {
        assert_eq!(refusal(&server, "GET", &format!("{ENGINE}?{query}")), (400, 0), "{query}");
    }
    assert_eq!(refusal(&server, "GET", SOCKET), (400, 0));
}

#[test]
fn an_unsupported_version_is_400_with_code_5() {
    let server = EchoServer::start();
    for version in ["EIO=3&", "EIO=5&", "EIO=abc&", "EIO=&", ""] {
        for transport in ["polling", "websocket"] {
            let target = format!("{ENGINE}?{version}transport={transport}");
            assert_eq!(refusal(&server, "GET", &target), (400, 5), "{target}");
        }
    }
}

#[test]
fn an_unknown_sid_is_400_with_code_1() {
    let server = EchoServer::start();
    for sid in ["abc", "", "%00", "__proto__"] {
        for (method, transport) in [("GET", "polling"), ("POST", "polling"), ("GET", "websocket")] {
            let target = format!("{}&sid={sid}", opening_target(ENGINE, transport));
            assert_eq!(refusal(&server, method, &target), UNKNOWN_SID, "{method} {target}");
        }
    }
}

#[test]
fn a_session_of_one_path_is_unknown_on_the_other() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let target = session.target("polling").replace(ENGINE, SOCKET);
    assert_eq!(refusal(&server, "GET", &target), UNKNOWN_SID);
    session.assert_polls();
}

#[test]
fn a_post_or_put_without_a_sid_is_400_with_code_2() {
    let server = EchoServer::start();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for transport in ["polling", "websocket"] {
            let target = opening_target(ENGINE, transport);
            assert_eq!(refusal(&server, method, &target), (400, 2), "{method} {transport}");
        }
    }
}

#[test]
fn a_put_with_a_sid_is_400_and_the_session_lives_on() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(refusal(&server, "PUT", &session.target("polling")), (400, 2));
    session.assert_polls();
}

#[test]
fn a_post_of_an_octet_stream_is_400() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut http = RawHttp::connect(&server);
    let headers = [("content-type", "application/octet-stream")];
    http.send("POST", &session.target("polling"), &headers, Some(b"4hello"));
    assert_eq!(http.answer().refusal(), BAD_REQUEST);
}

#[test]
fn a_websocket_request_that_is_no_handshake_is_400() {
    let server = EchoServer::start();
    let target = opening_target(ENGINE, "websocket");
    assert_eq!(refusal(&server, "GET", &target), BAD_REQUEST);
    let upgrade = [("upgrade", "websocket"), ("connection", "Upgrade")];
    let key = ("sec-websocket-key", KEY);
    for rest in [vec![key], vec![key, ("sec-websocket-version", "12")], vec![("sec-websocket-version", "13")]]
    {
        let mut http = RawHttp::connect(&server);
        http.send("GET", &target, &[&upgrade[..], &rest].concat(), None);
        assert_eq!(http.answer().refusal(), BAD_REQUEST, "{rest:?}");
    }
}

#[test]
fn a_refused_request_for_a_websocket_ends_its_connection() {
    let server = EchoServer::start();
    let mut http = RawHttp::connect(&server);
    let upgrade = [("upgrade", "websocket"), ("connection", "Upgrade")];
    http.send("GET", &opening_target(ENGINE, "websocket"), &upgrade, None);
    let answer = http.answer();
    assert_eq!((answer.refusal(), answer.header("connection")), (BAD_REQUEST, Some("close")));
    http.finish();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut http.into_stream(), &mut rest).expect("the end");
    assert_eq!(rest, b"");
}

#[test]
fn a_websocket_needs_a_key_of_16_bytes_and_no_body() {
    let server = EchoServer::start();
    let target = opening_target(ENGINE, "websocket");
    let upgrade = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")];
    let short = "dGhlIHNhbXBsZSBub24=";
    let long = "dGhlIHNhbXBsZSBub25jZWQ=";
    for key in ["", " ", "x", short, long, "dGhlIHNhbXBsZSBub25jZQ", "!!!!IHNhbXBsZSBub25jZQ=="] {
        let mut http = RawHttp::connect(&server);
        http.send("GET", &target, &[&upgrade[..], &[("sec-websocket-key", key)]].concat(), None);
        assert_eq!(http.answer().refusal(), BAD_REQUEST, "{key}");
    }
    let good = [&upgrade[..], &[("sec-websocket-key", KEY)]].concat();
    let mut http = RawHttp::connect(&server);
    http.send("GET", &target, &[&good[..], &[("transfer-encoding", "chunked")]].concat(), None);
    assert_eq!(http.answer().refusal(), BAD_REQUEST);
    let mut http = RawHttp::connect(&server);
    http.send("GET", &target, &good, Some(b"body"));
    assert_eq!(http.answer().refusal(), BAD_REQUEST);
}

#[test]
fn a_websocket_needs_http_1_1() {
    let server = EchoServer::start();
    let target = opening_target(ENGINE, "websocket");
    let mut http = RawHttp::connect(&server);
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
    let server = EchoServer::start();
    let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
    assert_eq!(session.get().refusal(), BAD_REQUEST);
    assert_eq!(session.post("4x").refusal(), BAD_REQUEST);
    crate::harness::engine_session::assert_echoes(&mut websocket);
}
