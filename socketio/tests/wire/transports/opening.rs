//! How a session starts: the open packet and its sid.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use crate::harness::{
    echo_server::EchoServer,
    engine_session::{ENGINE, EngineSession, SOCKET, opened, opening_target},
    raw_http::{RawHttp, request},
    websocket_client::{FINAL, KEY, TEXT, WebSocket, frame},
};

#[test]
fn the_open_packet_of_polling_has_exactly_five_fields_and_offers_the_websocket() {
    let server = EchoServer::start();
    for path in [ENGINE, SOCKET] {
        let packet = opened(request(&server, "GET", &opening_target(path, "polling"), None).ok());
        let expected = json!({
            "sid": packet["sid"],
            "upgrades": ["websocket"],
            "pingInterval": 25_000,
            "pingTimeout": 20_000,
            "maxPayload": 1_000_000,
        });
        assert_eq!(packet, expected);
    }
}

#[test]
fn the_open_packet_of_a_websocket_has_exactly_five_fields_and_offers_nothing() {
    let settings = [("--ping-interval", 7_000), ("--ping-timeout", 8_000), ("--max-payload", 9_000)];
    let server = EchoServer::start_with(&settings);
    for path in [ENGINE, SOCKET] {
        let packet = opened(&WebSocket::open(&server, &opening_target(path, "websocket")).text());
        let expected = json!({
            "sid": packet["sid"],
            "upgrades": [],
            "pingInterval": 7_000,
            "pingTimeout": 8_000,
            "maxPayload": 9_000,
        });
        assert_eq!(packet, expected);
    }
}

#[test]
fn a_sid_ends_with_the_name_of_its_server() {
    let server = EchoServer::start_with(&[("--node", 17)]);
    let (websocket, _open) = EngineSession::websocket(&server, ENGINE);
    let polling = EngineSession::polling(&server, ENGINE);
    for sid in [&websocket.sid, &polling.sid] {
        let (random, node) = sid.split_once('.').expect("two parts");
        assert_eq!((random.len(), node), (20, "17"));
    }
    assert_eq!(polling.post("4hello").ok(), "ok");
    assert_eq!(polling.get().ok(), "4hello");
}

#[test]
fn a_sid_has_at_least_96_random_bits() {
    let server = EchoServer::start();
    let mut http = RawHttp::connect(&server);
    let mut sids = HashSet::new();
    for _ in 0..400 {
        http.send("GET", &opening_target(ENGINE, "polling"), &[], None);
        let sid = opened(http.answer().ok())["sid"].as_str().expect("a sid").to_owned();
        sids.insert(URL_SAFE_NO_PAD.decode(&sid).expect("base64 of bytes"));
    }
    assert_eq!(sids.len(), 400, "no two are the same");
    let bytes = sids.iter().map(Vec::len).min().expect("one");
    // 400 random bytes have about 200 different values; the upper bytes of a clock or a counter have far fewer.
    let is_random = |index: &usize| {
        let values: HashSet<u8> = sids.iter().map(|sid| sid[*index]).collect();
        values.len() > 150
    };
    assert!((0..bytes).filter(is_random).count() * 8 >= 96, "{bytes} bytes");
}

#[test]
fn the_applications_own_query_values_come_before_the_protocols() {
    let server = EchoServer::start();
    let own = format!("{ENGINE}?tenant=a%26b&sid%5B%5D=x&empty=&flag&EIO=4&transport=polling");
    let packet = opened(request(&server, "GET", &own, None).ok());
    let again = format!("{own}&sid={}", packet["sid"].as_str().expect("a sid"));
    assert_eq!(request(&server, "POST", &again, Some(b"4hello")).ok(), "ok");
    assert_eq!(request(&server, "GET", &again, None).ok(), "4hello");
}

#[test]
fn jsonp_is_not_supported() {
    let server = EchoServer::start();
    let answer = request(&server, "GET", &format!("{}&j=0", opening_target(ENGINE, "polling")), None);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert!(opened(answer.ok())["sid"].is_string());
}

#[test]
fn a_session_is_found_from_every_worker() {
    let server = EchoServer::start();
    let sessions: Vec<_> = (0..8).map(|_| EngineSession::polling(&server, ENGINE)).collect();
    for _ in 0..3 {
        sessions.iter().for_each(EngineSession::assert_polls);
    }
}

#[test]
fn frames_that_come_with_the_request_are_read() {
    let server = EchoServer::start();
    let mut http = RawHttp::connect(&server);
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n\r\n",
        opening_target(ENGINE, "websocket"),
    );
    let (first, second) = (frame(FINAL | TEXT, b"4first"), frame(FINAL | TEXT, b"4second"));
    // Also when they are cut.
    let (with_request, after) = second.split_at(5);
    http.write(&[request.as_bytes(), &first, with_request].concat());
    http.write(after);
    let mut websocket = WebSocket::upgraded(http);
    opened(&websocket.text());
    assert_eq!([websocket.text(), websocket.text()], ["4first", "4second"]);
}
