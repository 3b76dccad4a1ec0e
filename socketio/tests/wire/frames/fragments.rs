//! Messages in fragments, and UTF-8 that is checked over the whole message.

use crate::harness::{
    echo_server::EchoServer,
    engine_session::{ENGINE, EngineSession, assert_echoes},
    websocket_client::{BINARY, CONTINUATION, FINAL, PING, PONG, ServerFrame, TEXT, WebSocket, frame},
};

fn websocket(server: &EchoServer) -> WebSocket {
    EngineSession::websocket(server, ENGINE).1
}

#[test]
fn the_fragments_of_a_message_are_joined() {
    let server = EchoServer::start();
    let mut websocket = websocket(&server);
    websocket.write(&frame(TEXT, b"4he"));
    websocket.write(&frame(CONTINUATION, b"l"));
    websocket.write(&frame(CONTINUATION, b""));
    websocket.write(&frame(FINAL | CONTINUATION, b"lo"));
    assert_eq!(websocket.text(), "4hello");
    websocket.write(&frame(BINARY, &[1, 2]));
    websocket.write(&frame(FINAL | CONTINUATION, &[3]));
    assert_eq!(websocket.binary(), [1, 2, 3]);
    assert_echoes(&mut websocket);
}

#[test]
fn a_ping_frame_between_fragments_is_answered_at_once() {
    let server = EchoServer::start();
    let mut websocket = websocket(&server);
    websocket.write(&frame(TEXT, b"4he"));
    websocket.write(&frame(FINAL | PING, b"there?"));
    assert_eq!(websocket.frame(), Some(ServerFrame { opcode: PONG, payload: b"there?".to_vec() }));
    websocket.write(&frame(FINAL | PONG, b""));
    websocket.write(&frame(FINAL | CONTINUATION, b"llo"));
    assert_eq!(websocket.text(), "4hello");
}

#[test]
fn a_character_may_be_split_over_fragments() {
    let server = EchoServer::start();
    let mut websocket = websocket(&server);
    let text = "4€𝄞é".as_bytes();
    let (last, begin) = text.split_last().expect("some bytes");
    websocket.write(&frame(TEXT, b""));
    begin.iter().for_each(|byte| websocket.write(&frame(CONTINUATION, &[*byte])));
    websocket.write(&frame(FINAL | CONTINUATION, &[*last]));
    assert_eq!(websocket.text(), "4€𝄞é");
}

#[test]
fn text_that_is_not_utf8_closes_the_connection() {
    let server = EchoServer::start();
    let overlong_surrogate_truncated = [&b"4\xc0\xaf"[..], b"4\xed\xa0\x80", b"4\xe2\x82", b"\xff"];
    for bytes in overlong_surrogate_truncated {
        let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
        websocket.write(&frame(FINAL | TEXT, bytes));
        websocket.close_code();
        session.wait_until_forgotten();
    }
}

#[test]
fn text_that_is_not_utf8_over_its_fragments_closes_the_connection() {
    let server = EchoServer::start();
    for pieces in [[&b"4\xe2\x82"[..], b"x"], [b"4ok", b"\xff"], [b"4\xe2", b"\x82"]] {
        let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
        websocket.write(&frame(TEXT, pieces[0]));
        websocket.write(&frame(FINAL | CONTINUATION, pieces[1]));
        websocket.close_code();
        session.wait_until_forgotten();
    }
}

#[test]
fn binary_need_not_be_utf8() {
    let server = EchoServer::start();
    let mut websocket = websocket(&server);
    websocket.send_binary(b"\xff\xfe\x00");
    assert_eq!(websocket.binary(), b"\xff\xfe\x00");
}
