//! The largest message: 413 on polling, 1009 on a websocket, and nothing is buffered beyond it.

use std::{thread, time::Instant};

use crate::harness::{
    echo_server::{EchoServer, PATIENCE},
    engine_session::{ENGINE, EngineSession, assert_echoes},
    raw_http::{RawHttp, RawResponse},
    websocket_client::{BINARY, CONTINUATION, FINAL, TEXT, frame, header},
};

const MAX_PAYLOAD: usize = 1_000_000;

/// A message of so many bytes, its type digit included.
fn message(bytes: usize) -> String {
    format!("4{}", "x".repeat(bytes - 1))
}

fn post_chunked(server: &EchoServer, session: &EngineSession<'_>, body: &str) -> RawResponse {
    let mut http = RawHttp::connect(server);
    http.send("POST", &session.target("polling"), &[("transfer-encoding", "chunked")], None);
    for piece in body.as_bytes().chunks(100_000) {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        if !http.try_write(&chunk) {
            break;
        }
    }
    http.try_write(b"0\r\n\r\n");
    http.answer()
}

#[test]
fn a_body_at_the_limit_is_accepted() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let message = message(MAX_PAYLOAD);
    assert_eq!(session.post(&message).ok(), "ok");
    assert_eq!(session.get().ok(), message);
    assert_eq!(post_chunked(&server, &session, &message).ok(), "ok");
    assert_eq!(session.get().ok(), message);
}

#[test]
fn a_body_over_the_limit_is_413() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let message = message(MAX_PAYLOAD + 1);
    assert_eq!(session.post(&message).status, 413);
    let session = EngineSession::polling(&server, ENGINE);
    assert_eq!(post_chunked(&server, &session, &message).status, 413);
}

#[test]
fn a_body_that_declares_more_than_the_limit_is_413_before_it_comes() {
    let server = EchoServer::start();
    for size in [MAX_PAYLOAD as u64 + 1, 8 << 30] {
        let session = EngineSession::polling(&server, ENGINE);
        let mut http = RawHttp::connect(&server);
        http.send("POST", &session.target("polling"), &[("content-length", &size.to_string())], None);
        assert_eq!(http.answer().status, 413);
        // Later packets would follow a gap.
        session.assert_closed();
    }
}

#[test]
fn endless_chunks_are_413_at_the_limit() {
    let server = EchoServer::start();
    let session = EngineSession::polling(&server, ENGINE);
    let mut http = RawHttp::connect(&server);
    http.send("POST", &session.target("polling"), &[("transfer-encoding", "chunked")], None);
    http.write(format!("40000000\r\n{}", message(MAX_PAYLOAD + 1)).as_bytes());
    assert_eq!(http.answer().status, 413);
}

#[test]
fn a_websocket_accepts_a_message_at_the_limit() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    let text = message(MAX_PAYLOAD);
    websocket.send_text(&text);
    assert_eq!(websocket.text(), text);
    let bytes = vec![7; MAX_PAYLOAD];
    websocket.send_binary(&bytes);
    assert_eq!(websocket.binary(), bytes);
}

#[test]
fn a_message_over_the_limit_closes_the_websocket_with_1009_at_its_header() {
    let server = EchoServer::start();
    for opcode in [TEXT, BINARY] {
        let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
        websocket.write(&header(FINAL | opcode, MAX_PAYLOAD as u64 + 1));
        assert_eq!(websocket.close_code(), Some(1009));
        session.wait_until_forgotten();
    }
}

#[test]
fn a_client_that_sends_all_of_a_message_over_the_limit_reads_1009() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    websocket.send_text(&message(MAX_PAYLOAD + 1));
    assert_eq!(websocket.close_code(), Some(1009));
}

#[test]
fn fragments_count_together() {
    let server = EchoServer::start();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    let text = message(MAX_PAYLOAD);
    let (begin, end) = text.split_at(MAX_PAYLOAD / 2);
    websocket.write(&frame(TEXT, begin.as_bytes()));
    websocket.write(&frame(FINAL | CONTINUATION, end.as_bytes()));
    assert_eq!(websocket.text(), text);
    websocket.write(&frame(TEXT, begin.as_bytes()));
    websocket.write(&header(CONTINUATION, end.len() as u64 + 1));
    assert_eq!(websocket.close_code(), Some(1009));
}

#[test]
fn endless_fragments_are_closed() {
    let server = EchoServer::start();
    for size in [0, 1] {
        let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
        websocket.write(&frame(TEXT, b"4"));
        let fragment = frame(CONTINUATION, &b"x"[..size]);
        let start = Instant::now();
        while websocket.try_write(&fragment.repeat(64)) {
            assert!(start.elapsed() < PATIENCE, "they are read without end");
        }
        session.wait_until_forgotten();
    }
}

#[test]
fn a_frame_of_8_gib_is_refused_at_its_header() {
    let server = EchoServer::start();
    let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
    // The mask has not come yet.
    websocket.write(&header(FINAL | BINARY, 8 << 30)[..10]);
    assert_eq!(websocket.close_code(), Some(1009));
    session.wait_until_forgotten();
}

#[test]
fn nothing_is_kept_of_a_frame_of_8_gib_and_its_connection_ends() {
    let server = EchoServer::start();
    let before = server.resident_bytes();
    let (_, mut websocket) = EngineSession::websocket(&server, ENGINE);
    websocket.write(&header(FINAL | BINARY, 8 << 30));
    let (piece, start) = (vec![0; 1 << 20], Instant::now());
    // The server discards further bytes for a moment, so that the client can read why it was closed.
    while websocket.try_write(&piece) {
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes were kept");
        assert!(start.elapsed() < PATIENCE, "it is read without end");
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_and_costs_little_memory() {
    let server = EchoServer::start_with(&[("--ping-interval", 300), ("--ping-timeout", 200)]);
    let before = server.resident_bytes();
    let (session, mut websocket) = EngineSession::websocket(&server, ENGINE);
    let mut writer = websocket.clone_stream();
    let flood = frame(FINAL | TEXT, message(100_000).as_bytes());
    thread::scope(|scope| {
        scope.spawn(move || while writer.try_write(&flood) {});
        session.wait_until_forgotten();
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 32 << 20, "{grown} bytes were kept");
        websocket.cut();
    });
    let (_, mut other) = EngineSession::websocket(&server, ENGINE);
    assert_echoes(&mut other);
}
