//! The frames of RFC 6455: a frame that breaks it closes with 1002, a frame that it allows is understood.

use crate::harness::{
    echo_server::EchoServer,
    engine_session::{ENGINE, EngineSession, assert_echoes},
    websocket_client::{BINARY, CLOSE, CONTINUATION, FINAL, PING, PONG, ServerFrame, TEXT, frame, header},
};

/// The server closes a new websocket with 1002 for these bytes.
fn assert_closes_with_1002(what: &str, bytes: &[u8]) {
    let server = EchoServer::start();
    let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
    websocket.write(bytes);
    assert_eq!(websocket.close_code(), Some(1002), "{what}");
    session.wait_until_forgotten();
}

/// The same frame, not masked.
fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(payload.len()).expect("short")], payload].concat()
}

#[test]
fn an_unmasked_frame_closes_with_1002() {
    assert_closes_with_1002("text", &unmasked(FINAL | TEXT, b"4hello"));
    assert_closes_with_1002("a ping", &unmasked(FINAL | PING, b""));
    assert_closes_with_1002("a header without its payload", &[FINAL | BINARY, 127]);
}

#[test]
fn reserved_bits_close_with_1002() {
    for bit in [0x40, 0x20, 0x10] {
        assert_closes_with_1002("text", &frame(FINAL | bit | TEXT, b"4hello"));
    }
    assert_closes_with_1002("a ping", &frame(FINAL | 0x40 | PING, b""));
}

#[test]
fn a_reserved_opcode_closes_with_1002() {
    for opcode in [0x3, 0x7, 0xb, 0xf] {
        assert_closes_with_1002("an opcode", &frame(FINAL | opcode, b""));
    }
}

#[test]
fn a_fragmented_control_frame_closes_with_1002() {
    for opcode in [PING, PONG, CLOSE] {
        assert_closes_with_1002("a fragment", &frame(opcode, b""));
    }
}

#[test]
fn a_control_frame_over_125_bytes_closes_with_1002() {
    for opcode in [PING, PONG, CLOSE] {
        assert_closes_with_1002("126 bytes", &header(FINAL | opcode, 126));
        assert_closes_with_1002("8 GiB", &header(FINAL | opcode, 8 << 30));
    }
}

#[test]
fn a_continuation_without_a_start_closes_with_1002() {
    assert_closes_with_1002("a last one", &frame(FINAL | CONTINUATION, b"4hello"));
    assert_closes_with_1002("one of more", &frame(CONTINUATION, b"4hello"));
    let whole = frame(FINAL | TEXT, b"3");
    assert_closes_with_1002("after a whole one", &[whole, frame(FINAL | CONTINUATION, b"x")].concat());
}

#[test]
fn a_message_within_a_message_closes_with_1002() {
    for opcode in [TEXT, BINARY] {
        assert_closes_with_1002(
            "a whole one",
            &[frame(TEXT, b"4he"), frame(FINAL | opcode, b"4llo")].concat(),
        );
        assert_closes_with_1002(
            "an unfinished one",
            &[frame(BINARY, b"4he"), frame(opcode, b"4llo")].concat(),
        );
    }
}

#[test]
fn a_ping_frame_is_answered_with_its_payload() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        websocket.write(&frame(FINAL | PING, payload));
        assert_eq!(websocket.frame(), Some(ServerFrame { opcode: PONG, payload: payload.to_vec() }));
    }
}

#[test]
fn a_pong_frame_that_nobody_asked_for_is_ignored() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    websocket.write(&frame(FINAL | PONG, b"hello"));
    assert_echoes(&mut websocket);
}

#[test]
fn a_close_frame_is_answered_and_ends_the_session() {
    let server = EchoServer::start();
    for payload in [&b""[..], &1000_u16.to_be_bytes(), &[&1001_u16.to_be_bytes()[..], b"bye"].concat()] {
        let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
        websocket.write(&frame(FINAL | CLOSE, payload));
        websocket.close_code();
        session.wait_until_forgotten();
    }
}

#[test]
fn the_connection_ends_after_its_close_frame_even_if_the_client_does_not_end_it() {
    let server = EchoServer::start();
    for bytes in [frame(FINAL | CLOSE, b""), frame(FINAL | TEXT, b"1"), frame(FINAL | 0x3, b"")] {
        let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
        websocket.write(&bytes);
        assert_eq!(websocket.frame().map(|frame| frame.opcode), Some(CLOSE));
        websocket.ends();
    }
}

#[test]
fn frames_are_understood_however_their_bytes_are_cut() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    let long = format!("4{}", "y".repeat(300));
    let bytes = [frame(FINAL | TEXT, b"4hello"), frame(FINAL | TEXT, long.as_bytes())].concat();
    bytes.iter().for_each(|byte| websocket.write(&[*byte]));
    assert_eq!(websocket.text(), "4hello");
    assert_eq!(websocket.text(), long);
    websocket.write(&bytes.repeat(3));
    for _ in 0..3 {
        assert_eq!(websocket.text(), "4hello");
        assert_eq!(websocket.text(), long);
    }
}

#[test]
fn a_partial_frame_and_a_fin_end_the_connection() {
    let server = EchoServer::start();
    let whole = frame(FINAL | TEXT, &[b'4'; 300]);
    for half in [&whole[..1], &whole[..3], &whole[..6], &whole[..200], &[]] {
        let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
        websocket.write(half);
        websocket.finish();
        websocket.ends();
        session.wait_until_forgotten();
    }
}
