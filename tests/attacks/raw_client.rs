//! A client like the widget, on a bare TCP stream.
//!
//! It answers pings while a test reads from it, and does nothing else by itself. It waits for anything at most
//! [`TIMEOUT`].

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use amoiq_testkit::{SECRET_KEY, WIDGET_KEY};
use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::websocket_frame::{self, ServerFrame, TEXT};

/// How long a client waits for anything.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A client.
pub struct RawClient {
    pub stream: TcpStream,
    read: BytesMut,
}

/// The answer to an upgrade.
pub enum UpgradeAnswer {
    /// The websocket.
    WebSocket(RawClient),
    /// A refusal: its status and body.
    Refused(u16, String),
}

impl RawClient {
    /// Connects from one of the addresses of loopback, because the ports of one are soon used up.
    pub async fn dial(address: SocketAddr, source_address: u8) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // A closed client leaves its port to the next.
        socket.bind((Ipv4Addr::new(127, 0, 0, source_address.max(1)), 0).into())?;
        let stream =
            timeout(TIMEOUT, socket.connect(address)).await.context("connecting took too long")??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::new() })
    }

    /// Asks for a websocket, with `query` before the protocol's values.
    pub async fn try_open(
        address: SocketAddr,
        source_address: u8,
        query: &str,
    ) -> anyhow::Result<UpgradeAnswer> {
        let mut client = Self::dial(address, source_address).await?;
        let request = format!(
            "GET /socket.io/?{query}&EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.stream.write_all(request.as_bytes()).await?;
        let (status, body) = client.head().await?;
        if status == 101 {
            return Ok(UpgradeAnswer::WebSocket(client));
        }
        Ok(UpgradeAnswer::Refused(status, body))
    }

    /// Opens a websocket. Its open packet is not read yet.
    pub async fn open(address: SocketAddr, source_address: u8, query: &str) -> anyhow::Result<Self> {
        match Self::try_open(address, source_address, query).await? {
            UpgradeAnswer::WebSocket(client) => Ok(client),
            UpgradeAnswer::Refused(status, body) => bail!("no websocket: {status} {body}"),
        }
    }

    /// A visitor's connected socket.
    pub async fn visitor(address: SocketAddr, source_address: u8) -> anyhow::Result<Self> {
        Self::open(address, source_address, "tenantId=demo").await?.introduce(WIDGET_KEY).await
    }

    /// An admin's connected socket, which gets everything of the tenant.
    pub async fn admin(address: SocketAddr) -> anyhow::Result<Self> {
        Self::open(address, 1, "tenantId=demo&role=admin").await?.introduce(SECRET_KEY).await
    }

    /// Sends CONNECT and waits for the answer.
    pub async fn introduce(mut self, key: &str) -> anyhow::Result<Self> {
        let open = self.text().await?;
        ensure!(open.starts_with("0{"), "no open packet: {open}");
        self.send_text(&format!("40{{\"apiKey\":\"{key}\",\"tenantId\":\"demo\"}}")).await?;
        let welcome = self.text().await?;
        ensure!(welcome.starts_with("40{\"sid\""), "not connected: {welcome}");
        Ok(self)
    }

    /// Sends a text.
    pub async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(&websocket_frame::frame(TEXT, text.as_bytes())).await
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(timeout(TIMEOUT, self.stream.write_all(bytes)).await.context("writing took too long")??)
    }

    /// The next text that is not a ping; pings are answered. Cancelling this loses nothing.
    pub async fn text(&mut self) -> anyhow::Result<String> {
        loop {
            match timeout(TIMEOUT, self.next()).await.context("nothing arrived")?? {
                Some(ServerFrame::Text(ping)) if ping == "2" => self.send_text("3").await?,
                Some(ServerFrame::Text(text)) => return Ok(text),
                Some(ServerFrame::Other) => {}
                Some(ServerFrame::Close(code)) => bail!("closed with {code:?}"),
                None => bail!("the connection ended"),
            }
        }
    }

    /// The next text that tells of a message.
    pub async fn message(&mut self) -> anyhow::Result<String> {
        loop {
            let text = self.text().await?;
            if text.starts_with("42[\"meta_message_created\"") {
                return Ok(text);
            }
        }
    }

    /// The next frame; none at the end of the stream. Cancelling this loses nothing.
    pub async fn next(&mut self) -> std::io::Result<Option<ServerFrame>> {
        loop {
            if let Some(frame) = websocket_frame::take(&mut self.read) {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads until the server has closed the connection, in order or not. Returns its close code if there is one.
    pub async fn closed_within(&mut self, limit: Duration) -> anyhow::Result<Option<u16>> {
        let ends = async {
            let mut code = None;
            loop {
                match self.next().await {
                    Ok(Some(ServerFrame::Close(said))) => code = said,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return code,
                }
            }
        };
        timeout(limit, ends).await.with_context(|| format!("not closed within {limit:?}"))
    }

    /// Sends a request. Returns the status and the body of its answer.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> anyhow::Result<(u16, String)> {
        let length = body.len();
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: amoiq\r\nAuthorization: Bearer {WIDGET_KEY}\r\n\
             Content-Type: {}\r\nContent-Length: {length}\r\n\r\n",
            if target.starts_with("/socket.io/") { "text/plain" } else { "application/json" },
        )
        .into_bytes();
        request.extend(body);
        self.write(&request).await?;
        self.head().await
    }

    /// Reads an answer's head, and its body if it has a length.
    pub async fn head(&mut self) -> anyhow::Result<(u16, String)> {
        timeout(TIMEOUT, self.answer()).await.context("no answer")?
    }

    async fn answer(&mut self) -> anyhow::Result<(u16, String)> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the connection ended");
        };
        let head = String::from_utf8(self.read.split_to(end).to_vec())?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Ok(0), str::parse)?;
        while self.read.len() < length {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the body ended");
        }
        Ok((status, String::from_utf8(self.read.split_to(length).to_vec())?))
    }
}

/// A message to a session as a socket sends it.
pub fn message(session: &str, text: &str) -> String {
    format!(r#"42["message",{{"type":"text","tenantId":"demo","sessionId":"{session}","text":"{text}"}}]"#)
}
