//! A client in the widget's form, on a bare TCP stream.
//!
//! It answers pings while it is read from, and nothing else by itself. Whatever it waits for it waits
//! for at most [`PATIENCE`].

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

use crate::frame::{self, Frame, TEXT};

/// How long anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A client.
pub struct Client {
    pub stream: TcpStream,
    read: BytesMut,
}

/// How a websocket was answered.
pub enum Opened {
    /// It is one.
    WebSocket(Client),
    /// It is none: the status, the body.
    Refused(u16, String),
}

impl Client {
    /// A TCP connection from one of the addresses of loopback. Ports of one address are soon used up.
    pub async fn dial(address: SocketAddr, source: u8) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // A client that is gone leaves its port to the next.
        socket.bind((Ipv4Addr::new(127, 0, 0, source.max(1)), 0).into())?;
        let stream =
            timeout(PATIENCE, socket.connect(address)).await.context("connecting took too long")??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::new() })
    }

    /// A websocket of the engine at `query` beside the protocol's own values.
    pub async fn try_open(address: SocketAddr, source: u8, query: &str) -> anyhow::Result<Opened> {
        let mut client = Self::dial(address, source).await?;
        let request = format!(
            "GET /socket.io/?{query}&EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.stream.write_all(request.as_bytes()).await?;
        let (status, body) = client.head().await?;
        if status == 101 {
            return Ok(Opened::WebSocket(client));
        }
        Ok(Opened::Refused(status, body))
    }

    /// The same, which has to succeed. The open packet is not read yet.
    pub async fn open(address: SocketAddr, source: u8, query: &str) -> anyhow::Result<Self> {
        match Self::try_open(address, source, query).await? {
            Opened::WebSocket(client) => Ok(client),
            Opened::Refused(status, body) => bail!("no websocket: {status} {body}"),
        }
    }

    /// A visitor's socket, let in.
    pub async fn visitor(address: SocketAddr, source: u8) -> anyhow::Result<Self> {
        Self::open(address, source, "tenantId=demo").await?.introduce(WIDGET_KEY).await
    }

    /// An admin's socket, let in: it hears everything of the tenant.
    pub async fn admin(address: SocketAddr) -> anyhow::Result<Self> {
        Self::open(address, 1, "tenantId=demo&role=admin").await?.introduce(SECRET_KEY).await
    }

    /// Says who it is, and is let in.
    pub async fn introduce(mut self, key: &str) -> anyhow::Result<Self> {
        let open = self.text().await?;
        ensure!(open.starts_with("0{"), "no open packet: {open}");
        self.say(&format!("40{{\"apiKey\":\"{key}\",\"tenantId\":\"demo\"}}")).await?;
        let welcome = self.text().await?;
        ensure!(welcome.starts_with("40{\"sid\""), "not let in: {welcome}");
        Ok(self)
    }

    /// Sends a text.
    pub async fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(&frame::frame(TEXT, text.as_bytes())).await
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(timeout(PATIENCE, self.stream.write_all(bytes)).await.context("writing took too long")??)
    }

    /// The next text that is not a ping; pings are answered. Nothing is lost when it is given up.
    pub async fn text(&mut self) -> anyhow::Result<String> {
        loop {
            match timeout(PATIENCE, self.next()).await.context("nothing came")?? {
                Some(Frame::Text(ping)) if ping == "2" => self.say("3").await?,
                Some(Frame::Text(text)) => return Ok(text),
                Some(Frame::Other) => {}
                Some(Frame::Close(code)) => bail!("closed with {code:?}"),
                None => bail!("the connection ended"),
            }
        }
    }

    /// The next frame; none at the stream's end. Nothing is lost when it is given up.
    pub async fn next(&mut self) -> std::io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = frame::take(&mut self.read) {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads until the server has closed: its close code, if it said one. A connection that breaks is
    /// closed as well.
    pub async fn closed_within(&mut self, patience: Duration) -> anyhow::Result<Option<u16>> {
        let ends = async {
            let mut code = None;
            loop {
                match self.next().await {
                    Ok(Some(Frame::Close(said))) => code = said,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return code,
                }
            }
        };
        timeout(patience, ends).await.with_context(|| format!("not closed within {patience:?}"))
    }

    /// Sends a request and reads its answer: the status, the body.
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
        timeout(PATIENCE, self.answer()).await.context("no answer")?
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
