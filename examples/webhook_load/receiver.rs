//! Receivers: one that answers at once and records how long each message took since it was sent, and one that accepts
//! connections and never answers. The first refuses some messages, and does not record those.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    time::Instant,
};

/// The beginning of a message that is refused.
pub const REFUSED: &str = "Refuse";

pub struct Receivers {
    pub healthy: SocketAddr,
    pub black_hole: SocketAddr,
    /// From a visitor's request to the answer to its delivery, in milliseconds. This includes the append and its
    /// sync. The time in the payload is that of the append, but only in whole milliseconds.
    pub latencies: Arc<Mutex<Vec<f64>>>,
}

impl Receivers {
    pub async fn listen(start: Instant) -> anyhow::Result<Self> {
        let (healthy, black_hole) =
            (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let latencies = Arc::default();
        let receivers = Self {
            healthy: healthy.local_addr()?,
            black_hole: black_hole.local_addr()?,
            latencies: Arc::clone(&latencies),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = healthy.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&latencies), start));
            }
        });
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = black_hole.accept().await {
                held.push(stream);
            }
        });
        Ok(receivers)
    }

    /// Waits until this many messages have arrived.
    pub async fn wait_for(&self, expected: usize, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let came = self.latencies.lock().await.len();
            if came >= expected {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{came} of {expected} deliveries came");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    latencies: Arc<Mutex<Vec<f64>>>,
    start: Instant,
) -> anyhow::Result<()> {
    let mut read = Vec::new();
    loop {
        let Some(body) = next_body(&mut stream, &mut read).await? else { return Ok(()) };
        let payload: serde_json::Value = serde_json::from_slice(&body)?;
        let text = payload.pointer("/data/text").and_then(serde_json::Value::as_str).context("a text")?;
        if text.starts_with(REFUSED) {
            stream.write_all(b"HTTP/1.1 422 x\r\ncontent-length: 0\r\n\r\n").await?;
            continue;
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        let (_, sent_us) = text.rsplit_once(' ').context("a time")?;
        let sent = Duration::from_micros(sent_us.parse()?);
        latencies.lock().await.push((start.elapsed() - sent).as_secs_f64() * 1_000.0);
    }
}

/// The body of the next request on a connection; `None` at its end.
async fn next_body(stream: &mut TcpStream, read: &mut Vec<u8>) -> anyhow::Result<Option<Vec<u8>>> {
    loop {
        if let Some(head) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(read.get(..head).unwrap_or_default()).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.context("a length")?.trim().parse()?;
            if read.len() >= head + 4 + length {
                let rest = read.split_off(head + 4 + length);
                let body = std::mem::replace(read, rest).split_off(head + 4);
                return Ok(Some(body));
            }
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}
