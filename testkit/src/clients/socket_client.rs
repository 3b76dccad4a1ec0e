//! A Socket.IO client over a websocket, small enough to see what is on the wire.

use std::{
    collections::VecDeque,
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client::client, handshake::client::generate_key, http::Request};

use crate::{PATIENCE, TestApp};

/// A connection in the default namespace, or on its way there.
pub struct SocketClient {
    ws: WebSocket<TcpStream>,
    /// Packets that were read while another was waited for.
    unread: VecDeque<String>,
    next_ack: u64,
    /// What `40` was answered with.
    pub welcome: Value,
}

/// How a client connects.
#[derive(Clone, Default)]
pub struct SocketHandshake<'a> {
    /// More of the query: `tenantId=acme`.
    pub query: &'a str,
    /// The `auth` of the CONNECT packet.
    pub auth: Value,
    /// Headers of the handshake.
    pub headers: &'a [(&'a str, &'a str)],
}

/// An event: its name and its argument.
pub type SocketEvent = (String, Value);

impl SocketHandshake<'_> {
    /// Opens the engine's connection, and no namespace.
    pub fn open(&self, app: &TestApp) -> SocketClient {
        let address = app.socket_address().to_string();
        let stream = TcpStream::connect(&address).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut request = Request::builder()
            .uri(format!("ws://{address}/socket.io/?{}&EIO=4&transport=websocket", self.query))
            .header("Host", &address)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key());
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let (ws, _) = client(request.body(()).expect("a request"), stream).expect("a websocket");
        let mut socket = SocketClient { ws, unread: VecDeque::new(), next_ack: 0, welcome: Value::Null };
        let open = socket.packet().expect("an open packet");
        assert!(open.starts_with("0{"), "{open}");
        socket
    }

    /// Connects to the namespace.
    ///
    /// # Errors
    /// When it is refused: what the client finds in `err`.
    pub fn connect(&self, app: &TestApp) -> Result<SocketClient, Value> {
        let mut socket = self.open(app);
        socket.text(&format!("40{}", self.auth));
        let answer = socket.packet().expect("an answer");
        match answer.split_at(2) {
            ("40", welcome) => {
                socket.welcome = serde_json::from_str(welcome).expect("JSON");
                Ok(socket)
            }
            ("44", refusal) => Err(serde_json::from_str(refusal).expect("JSON")),
            _ => panic!("no answer to CONNECT: {answer}"),
        }
    }
}

impl SocketClient {
    /// Connects with a credential.
    pub fn connect(app: &TestApp, credential: &str) -> Self {
        let auth = json!({ "token": credential });
        SocketHandshake { auth, ..SocketHandshake::default() }.connect(app).expect("the credential is good")
    }

    /// Connects with a credential and something else in `auth`.
    pub fn connect_with(app: &TestApp, credential: &str, more: &Value) -> Self {
        let mut auth = more.clone();
        auth["token"] = json!(credential);
        SocketHandshake { auth, ..SocketHandshake::default() }.connect(app).expect("the credential is good")
    }

    /// Sends a text frame as it is.
    pub fn text(&mut self, text: &str) {
        self.ws.send(Message::text(text)).expect("it is sent");
    }

    /// Emits an event without asking for an acknowledgement.
    pub fn emit(&mut self, name: &str, argument: &Value) {
        self.text(&format!("42{}", json!([name, argument])));
    }

    /// Emits an event and gives its acknowledgement.
    pub fn call(&mut self, name: &str, argument: &Value) -> Value {
        let id = self.next_ack;
        self.next_ack += 1;
        self.text(&format!("42{id}{}", json!([name, argument])));
        let ack = format!("43{id}[");
        let found = self.wait_until(|packet| packet.starts_with(&ack));
        let args: Value = serde_json::from_str(&found[ack.len() - 1..]).expect("JSON");
        args[0].clone()
    }

    /// The next event; other packets are passed over.
    pub fn event(&mut self) -> SocketEvent {
        let packet = self.wait_until(|packet| packet.starts_with("42"));
        let array: Value = serde_json::from_str(&packet[2..]).expect("JSON");
        (array[0].as_str().expect("a name").to_owned(), array[1].clone())
    }

    /// The argument of the next event with a name.
    pub fn next(&mut self, name: &str) -> Value {
        self.next_with_offset(name).0
    }

    /// The argument of the next event with a name, and its offset, which clients get that can recover.
    pub fn next_with_offset(&mut self, name: &str) -> (Value, Value) {
        let begin = format!("42[\"{name}\"");
        let packet = self.wait_until(|packet| packet.starts_with(&begin));
        let array: Value = serde_json::from_str(&packet[2..]).expect("JSON");
        (array[1].clone(), array[2].clone())
    }

    /// Why a CONNECT was refused, as the client finds it in `err`.
    pub fn refusal(&mut self) -> Value {
        let refusal = self.wait_until(|packet| packet.starts_with("44"));
        serde_json::from_str(&refusal[2..]).expect("JSON")
    }

    /// Reads to the end and gives the events on the way and the close code, 1006 when there is none.
    pub fn until_closed(&mut self) -> (Vec<SocketEvent>, u16) {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Vec::new();
        loop {
            assert!(Instant::now() < deadline, "it is not closed");
            match self.ws.read() {
                Ok(Message::Text(text)) if text.as_str() == "2" => drop(self.ws.send(Message::text("3"))),
                Ok(Message::Text(text)) if text.starts_with("42") => {
                    let array: Value = serde_json::from_str(&text[2..]).expect("JSON");
                    events.push((array[0].as_str().expect("a name").to_owned(), array[1].clone()));
                }
                Ok(Message::Close(frame)) => return (events, frame.map_or(1005, |frame| frame.code.into())),
                Ok(_) => {}
                Err(_) => return (events, 1006),
            }
        }
    }

    /// Whether nothing more comes within a time.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.ws.get_ref().set_read_timeout(Some(time)).expect("a timeout");
        let heard = self.packet();
        self.ws.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout");
        match heard {
            Some(packet) => {
                self.unread.push_front(packet);
                false
            }
            None => true,
        }
    }

    fn wait_until(&mut self, found: impl Fn(&str) -> bool) -> String {
        if let Some(place) = self.unread.iter().position(|packet| found(packet)) {
            return self.unread.remove(place).expect("a place");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "not in time; unread: {:?}", self.unread);
            let packet = self.packet().expect("a packet");
            if found(&packet) {
                return packet;
            }
            self.unread.push_back(packet);
        }
    }

    /// The next packet that is no ping; nothing when the connection is closed instead.
    pub fn packet_or_end(&mut self) -> Option<String> {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) if text.as_str() == "2" => self.text("3"),
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next packet that is no ping; nothing when none comes in time.
    pub fn packet(&mut self) -> Option<String> {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) if text.as_str() == "2" => self.text("3"),
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Close(frame)) => panic!("closed: {frame:?}"),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) => {
                    let timed_out = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
                    assert!(timed_out.contains(&error.kind()), "{error}");
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
