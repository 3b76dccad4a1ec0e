//! Websockets without a library (RFC 6455): sends frames as a test wrote them, right or wrong.

use std::{
    io::{BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use super::{echo_server::EchoServer, raw_http::RawHttp};

/// The key of the RFC's example, and the server's answer to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An arbitrary mask.
const MASK: [u8; 4] = [0x5a, 0x01, 0xc3, 0x7f];

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// The bit of a frame that ends its message.
pub const FINAL: u8 = 0x80;

/// The client's end of a websocket.
pub struct WebSocket {
    stream: BufReader<TcpStream>,
}

/// A frame of the server, which never fragments.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerFrame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl WebSocket {
    pub fn open(server: &EchoServer, target: &str) -> Self {
        Self::upgrade(RawHttp::connect(server), target)
    }

    /// Upgrades a connection.
    pub fn upgrade(mut http: RawHttp, target: &str) -> Self {
        let headers = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-extensions", "permessage-deflate"),
        ];
        http.send("GET", target, &headers, None);
        Self::upgraded(http)
    }

    /// Expects the answer to a request that has been sent.
    pub fn upgraded(mut http: RawHttp) -> Self {
        let head = http.head();
        assert_eq!(head.status, 101);
        assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(head.header("sec-websocket-extensions"), None, "nothing is compressed");
        Self { stream: http.into_stream() }
    }

    pub fn send_text(&mut self, text: &str) {
        self.write(&frame(FINAL | TEXT, text.as_bytes()));
    }

    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.write(&frame(FINAL | BINARY, bytes));
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("written");
    }

    /// Sends bytes to a server that may have closed the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Closes the writing half (FIN).
    pub fn finish(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).expect("a FIN");
    }

    /// The same connection for a thread that writes.
    pub fn clone_stream(&self) -> Self {
        Self { stream: BufReader::new(self.stream.get_ref().try_clone().expect("a twin")) }
    }

    /// Closes both halves of the connection.
    pub fn cut(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Both).expect("the end");
    }

    /// The next frame; none at the end of the stream.
    pub fn frame(&mut self) -> Option<ServerFrame> {
        let mut first = [0];
        if self.stream.read(&mut first).expect("a frame, or the end") == 0 {
            return None;
        }
        let [first] = first;
        assert_eq!(first & !0x0f, FINAL, "a whole frame without reserved bits");
        let second = self.array::<1>()[0];
        let size = match second {
            126 => u64::from(u16::from_be_bytes(self.array())),
            127 => u64::from_be_bytes(self.array()),
            short => u64::from(short),
        };
        assert!(second < 128, "a server does not mask");
        let mut payload = vec![0; usize::try_from(size).expect("a size")];
        self.stream.read_exact(&mut payload).expect("the whole frame");
        Some(ServerFrame { opcode: first & 0x0f, payload })
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("the whole header");
        bytes
    }

    /// The next frame, which has to be text.
    pub fn text(&mut self) -> String {
        match self.frame() {
            Some(ServerFrame { opcode: TEXT, payload }) => String::from_utf8(payload).expect("UTF-8"),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next frame, which has to be binary.
    pub fn binary(&mut self) -> Vec<u8> {
        match self.frame() {
            Some(ServerFrame { opcode: BINARY, payload }) => payload,
            other => panic!("no binary: {other:?}"),
        }
    }

    /// Checks that the server closes the websocket now, and the connection once the client does. Returns the close
    /// code.
    pub fn close_code(&mut self) -> Option<u16> {
        self.close().0
    }

    /// The same with the text of the reason.
    pub fn close(&mut self) -> (Option<u16>, String) {
        let payload = match self.frame() {
            Some(ServerFrame { opcode: CLOSE, payload }) => payload,
            other => panic!("not closed: {other:?}"),
        };
        let code = payload.first_chunk().copied().map(u16::from_be_bytes);
        let text = String::from_utf8(payload.get(2..).unwrap_or_default().to_vec()).expect("UTF-8");
        // The server may have ended the connection already.
        let _gone = self.stream.get_mut().shutdown(Shutdown::Write);
        self.ends();
        (code, text)
    }

    /// Whether anything arrives within this time.
    pub fn receives_within(&mut self, patience: Duration) -> bool {
        self.stream.get_ref().set_read_timeout(Some(patience)).expect("a timeout");
        self.stream.read(&mut [0]).is_ok_and(|read| read == 1)
    }

    /// Checks that the server ends the connection without another frame.
    pub fn ends(&mut self) {
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            // The kernel reports this when the server closed with unread bytes.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("the connection did not end: {other:?}"),
        }
    }
}

/// A masked frame with the shortest form of its length.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The header of a frame of that many bytes, mask included.
pub fn header(first: u8, size: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match size {
        0..126 => bytes.push(0x80 | u8::try_from(size).expect("short")),
        126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(size).expect("short").to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(size.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}
