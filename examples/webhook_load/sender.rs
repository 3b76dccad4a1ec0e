//! The visitors of a tenant: they write at a constant rate over one connection. Messages that will be refused have
//! sessions of their own, so that nothing else has to wait for them.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, MissedTickBehavior},
};

use super::receiver::REFUSED;

/// The number of sessions of one tenant.
const SESSIONS: usize = 10;

/// How one tenant's visitors write.
#[derive(Clone, Copy)]
pub struct TenantLoad {
    pub rate: f64,
    pub refused_percent: u64,
    pub span: Duration,
    pub start: Instant,
}

pub async fn send(address: SocketAddr, tenant: usize, load: TenantLoad) -> anyhow::Result<()> {
    let TenantLoad { rate, refused_percent, span, start } = load;
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // Tenants do not write at the same moment.
    let offset = Duration::from_secs_f64(tenant as f64 / 100.0 / rate.max(1.0));
    let mut ticks = tokio::time::interval_at(Instant::now() + offset, Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = (rate * span.as_secs_f64()) as usize;
    let mut answer = Vec::new();
    for number in 0..count {
        ticks.tick().await;
        let sent_us = start.elapsed().as_micros();
        let is_refused = is_refused(number as u64, refused_percent);
        let (kind, word) =
            if is_refused { (number + SESSIONS, REFUSED) } else { (number % SESSIONS, "Hello") };
        let session = format!("session-of-{tenant:04}-{kind:04}");
        let body = format!(
            r#"{{"text":"{word}, this is message {number} of the load, sent at {sent_us}","sessionId":"{session}"}}"#
        );
        let request = format!(
            "POST /webchat/message HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            super::service::key(tenant),
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        answer.clear();
        while !answer.ends_with(b"}") {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the service closed a connection");
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Whether a message is to be refused: a percentage of all, in a random-looking order that is the same in every run.
pub fn is_refused(number: u64, percent: u64) -> bool {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (percent << 32) / 100
}
