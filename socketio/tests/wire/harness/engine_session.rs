//! A session of one of the echo server's two engines, and a socket over it.

use std::time::Instant;

use serde_json::Value;

use super::{
    echo_server::{EchoServer, PATIENCE},
    raw_http::{RawHttp, RawResponse, request},
    websocket_client::WebSocket,
};

/// The path of the engine without Socket.IO.
pub const ENGINE: &str = "/engine.io/";

/// The path of Socket.IO.
pub const SOCKET: &str = "/socket.io/";

/// The refusal of an unknown session.
pub const UNKNOWN_SID: (u16, u64) = (400, 1);

/// The refusal of a request that a session does not allow.
pub const BAD_REQUEST: (u16, u64) = (400, 3);

/// A session, by its id.
pub struct EngineSession<'a> {
    server: &'a EchoServer,
    path: &'static str,
    pub sid: String,
}

impl<'a> EngineSession<'a> {
    /// Opens a session that polls.
    pub fn polling(server: &'a EchoServer, path: &'static str) -> Self {
        let answer = request(server, "GET", &opening_target(path, "polling"), None);
        Self { server, path, sid: sid_of(answer.ok()) }
    }

    /// Opens a session on a websocket.
    pub fn websocket(server: &'a EchoServer, path: &'static str) -> (Self, WebSocket) {
        let mut websocket = WebSocket::open(server, &opening_target(path, "websocket"));
        let sid = sid_of(&websocket.text());
        (Self { server, path, sid }, websocket)
    }

    pub fn target(&self, transport: &str) -> String {
        format!("{}&sid={}", opening_target(self.path, transport), self.sid)
    }

    /// Sends a GET and does not wait for its answer.
    pub fn start_get(&self) -> RawHttp {
        let mut http = RawHttp::connect(self.server);
        http.send("GET", &self.target("polling"), &[], None);
        http
    }

    pub fn get(&self) -> RawResponse {
        self.start_get().answer()
    }

    pub fn post(&self, body: impl AsRef<[u8]>) -> RawResponse {
        request(self.server, "POST", &self.target("polling"), Some(body.as_ref()))
    }

    /// Opens a websocket for this session.
    pub fn second_transport(&self) -> WebSocket {
        WebSocket::open(self.server, &self.target("websocket"))
    }

    /// Opens a websocket for this session and upgrades it as far as the probe.
    pub fn probe(&self) -> WebSocket {
        let mut websocket = self.second_transport();
        websocket.send_text("2probe");
        assert_eq!(websocket.text(), "3probe");
        websocket
    }

    /// Waits until the server does not know the session any more. It asks with a packet that changes nothing, so that
    /// asking does not end the session.
    pub fn wait_until_forgotten(&self) {
        let start = Instant::now();
        loop {
            let answer = self.post("3");
            if answer.status != 200 && answer.refusal() == UNKNOWN_SID {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "the session is still known");
        }
    }

    /// Checks that the session is over: neither a GET nor a POST is accepted.
    pub fn assert_closed(&self) {
        assert_eq!(self.get().status, 400);
        assert_eq!(self.post("4late").status, 400);
    }

    /// A session that polls and is connected to the namespace `/`.
    pub fn joined(server: &'a EchoServer) -> Self {
        let session = Self::polling(server, SOCKET);
        assert_eq!(session.post("40").ok(), "ok");
        let packets = session.poll_packets(2);
        assert!(packets[0].starts_with("40{"), "{packets:?}");
        assert_eq!(packets[1], r#"42["auth",{}]"#);
        session
    }

    /// Polls until so many packets have come.
    pub fn poll_packets(&self, count: usize) -> Vec<String> {
        let (mut packets, start) = (Vec::new(), Instant::now());
        while packets.len() < count {
            packets.extend(self.get().ok().split('\x1e').map(str::to_owned));
            assert!(start.elapsed() < PATIENCE, "{packets:?}");
        }
        packets
    }

    /// Checks that the session echoes a message over polling.
    pub fn assert_polls(&self) {
        assert_eq!(self.post("4still").ok(), "ok");
        assert_eq!(self.get().ok(), "4still");
    }
}

/// Checks that the engine echoes a message.
pub fn assert_echoes(websocket: &mut WebSocket) {
    websocket.send_text("4still");
    assert_eq!(websocket.text(), "4still");
}

/// The target of a request that opens a session.
pub fn opening_target(path: &str, transport: &str) -> String {
    format!("{path}?EIO=4&transport={transport}")
}

/// The fields of an open packet.
pub fn opened(packet: &str) -> Value {
    let json = packet.strip_prefix('0').unwrap_or_else(|| panic!("no open packet: {packet}"));
    serde_json::from_str(json).expect("JSON")
}

fn sid_of(packet: &str) -> String {
    opened(packet)["sid"].as_str().expect("a sid").to_owned()
}

/// A websocket that is connected to the namespace `/`.
pub fn socket(server: &EchoServer) -> WebSocket {
    let (_, mut websocket) = EngineSession::websocket(server, SOCKET);
    join(&mut websocket, "");
    websocket
}

/// Connects to a namespace (`/name,`, nothing for `/`). Returns the socket's id.
pub fn join(websocket: &mut WebSocket, namespace: &str) -> String {
    websocket.send_text(&format!("40{namespace}"));
    let answer = websocket.text();
    let json = answer.strip_prefix(&format!("40{namespace}")).unwrap_or_else(|| panic!("refused: {answer}"));
    let welcome: Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(websocket.text(), format!("42{namespace}[\"auth\",{{}}]"));
    welcome["sid"].as_str().expect("a sid").to_owned()
}

/// Checks that the server answers an event.
pub fn assert_answers(websocket: &mut WebSocket) {
    websocket.send_text(r#"42["message","still"]"#);
    assert_eq!(websocket.text(), r#"42["message-back","still"]"#);
}
