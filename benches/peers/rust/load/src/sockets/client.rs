//! Socket.IO over a websocket, as the widget connects.

use std::{io, net::SocketAddr};

use anyhow::{Context, ensure};
use memchr::memmem;

use super::frame::{self, ServerFrame};
use crate::{
    connection::Connection,
    http::{PAGE, WIDGET_KEY},
    template::{MessageTemplate, NUMBER, SESSION, number_at},
};

/// How many connect at the same time.
const AT_ONCE: usize = 64;
/// What every event starts with that tells of a message.
const CREATED: &[u8] = br#"42["meta_message_created""#;
/// What every answer has unless it is a refusal.
const SUCCESS: &str = r#""success":true"#;

/// What a server said.
pub enum ServerText<'a> {
    /// A message of the room.
    Created(&'a [u8]),
    /// The answer to the message of this number, and whether it was stored.
    Acknowledged(u64, bool),
}

/// A visitor's socket.
pub struct SocketClient {
    connection: Connection,
    is_pinged: bool,
}

/// Opens sockets. Each joins its session before the next are opened. They do not block from then on.
pub fn open_all(
    addresses: &[SocketAddr],
    sessions: &[String],
    scratch: &mut [u8],
) -> anyhow::Result<Vec<SocketClient>> {
    let mut clients = Vec::with_capacity(sessions.len());
    for (group, sessions) in sessions.chunks(AT_ONCE).enumerate() {
        let mut opened = Vec::with_capacity(AT_ONCE);
        for (number, &address) in (0..sessions.len()).zip(addresses.iter().cycle()) {
            opened.push(SocketClient::open(address, group + number)?);
        }
        for client in &mut opened {
            client.await_upgrade(scratch)?;
            let connect = format!(r#"40{{"token":"{WIDGET_KEY}","tenantId":"demo"}}"#);
            client.connection.send(&frame::text(connect.as_bytes()))?;
        }
        for (client, session) in opened.iter_mut().zip(sessions) {
            client.await_text(scratch, r#"40{"sid""#)?;
            let join = format!(r#"420["join:session",{{"sessionId":"{session}"}}]"#);
            client.connection.send(&frame::text(join.as_bytes()))?;
        }
        for client in &mut opened {
            let answer = client.await_text(scratch, "430[")?;
            ensure!(answer.contains(SUCCESS), "not in the session: {answer}");
            client.connection.set_nonblocking()?;
        }
        clients.append(&mut opened);
    }
    Ok(clients)
}

impl SocketClient {
    fn open(address: SocketAddr, source: usize) -> anyhow::Result<Self> {
        let mut connection = Connection::open(address, source).context("the server does not listen")?;
        let request = format!(
            "GET /socket.io/?tenantId=demo&EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        connection.send(request.as_bytes())?;
        Ok(Self { connection, is_pinged: false })
    }

    fn await_upgrade(&mut self, scratch: &mut [u8]) -> anyhow::Result<()> {
        let (mut answer, mut is_whole) = (Vec::new(), false);
        while !is_whole {
            self.connection.receive(scratch, |bytes| {
                let end = memmem::find(bytes, b"\r\n\r\n").map(|end| end + 4);
                is_whole = end.is_some();
                answer.extend(bytes.get(..end.unwrap_or_default()).unwrap_or_default());
                Ok(end.unwrap_or_default())
            })?;
        }
        ensure!(answer.starts_with(b"HTTP/1.1 101"), "no websocket: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }

    /// Waits for a text that starts so, while the connection still blocks. What comes before it is ignored.
    fn await_text(&mut self, scratch: &mut [u8], start: &str) -> anyhow::Result<String> {
        let mut awaited = None;
        loop {
            let is_pinged = &mut self.is_pinged;
            let received = self.connection.receive(scratch, |bytes| {
                frame::take_all(bytes, |frame| match frame {
                    ServerFrame::Text(text) if text.starts_with(start.as_bytes()) => {
                        awaited = Some(String::from_utf8_lossy(text).into_owned());
                    }
                    ServerFrame::Text(b"2") => *is_pinged = true,
                    _ => {}
                })
            });
            received.with_context(|| format!("no answer that starts with {start}"))?;
            self.answer_ping()?;
            if let Some(text) = awaited {
                return Ok(text);
            }
        }
    }

    /// The connection, to wait for it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Sends bytes of a whole frame.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.connection.send(frame)
    }

    /// Reads all that is there, and answers pings.
    pub fn receive(&mut self, scratch: &mut [u8], mut handle: impl FnMut(ServerText<'_>)) -> io::Result<()> {
        self.connection.flush()?;
        let (is_pinged, mut pongs) = (&mut self.is_pinged, Vec::new());
        self.connection.receive(scratch, |bytes| {
            frame::take_all(bytes, |frame| match frame {
                ServerFrame::Text(b"2") => *is_pinged = true,
                ServerFrame::Text(text) => {
                    if let Some(text) = read_text(text) {
                        handle(text);
                    }
                }
                ServerFrame::Ping(payload) => pongs.extend(frame::pong(payload)),
                ServerFrame::Close | ServerFrame::Other => {}
            })
        })?;
        if !pongs.is_empty() {
            self.connection.send(&pongs)?;
        }
        self.answer_ping()
    }

    fn answer_ping(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_pinged) { self.connection.send(&frame::text(b"3")) } else { Ok(()) }
    }
}

fn read_text(text: &[u8]) -> Option<ServerText<'_>> {
    if let Some(event) = text.strip_prefix(CREATED) {
        return Some(ServerText::Created(event));
    }
    let (number, answer) = text.strip_prefix(b"43")?.split_at_checked(NUMBER.len())?;
    let has = |member: &str| memmem::find(answer, member.as_bytes()).is_some();
    let is_stored = has(SUCCESS) && has(r#""messageId":""#);
    Some(ServerText::Acknowledged(number_at(number)?, is_stored))
}

/// The `message` event, which has its number in its text, and asks for an acknowledgement or not.
pub fn message_template(run: &str, is_acknowledged: bool) -> MessageTemplate {
    let id = if is_acknowledged { NUMBER } else { "" };
    let text = format!(
        r#"42{id}["message",{{"type":"message","text":"load-{NUMBER}","tenantId":"demo","sessionId":"session-{run}-{SESSION}",{PAGE},"timestamp":"2026-01-01T00:00:00.000Z"}}]"#
    );
    MessageTemplate::new(frame::text(text.as_bytes()))
}

/// The session of a number, as [`message_template`] writes it.
pub fn session_name(run: &str, number: usize) -> String {
    format!("session-{run}-1{number:09}")
}
