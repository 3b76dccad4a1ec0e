//! Attacks by silence and slowness.

use std::{sync::Arc, time::Duration};

use amoiq_testkit::WIDGET_KEY;
use anyhow::{Context, ensure};
use socket2::{SockFilter, SockRef};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use crate::{
    attack::{AttackEnvironment, AttackOutcome},
    concurrency::{run_many, source_address},
    raw_client::RawClient,
};

/// `realtime.connect_timeout_ms` in [`mute`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// How late a connection may end on a busy machine.
const LATE: Duration = Duration::from_secs(15);

/// A filter program of one instruction, "return 0": drop every packet.
const DROP_ALL: SockFilter = SockFilter::new(0x06, 0, 0, 0);

/// Connections that never send CONNECT.
pub async fn mute(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(1_000, 10_000), environment.server.socket_address());
    run_many(count, count, move |number| async move {
        let mut client = RawClient::open(address, source_address(number), "tenantId=demo").await?;
        let since = Instant::now();
        client.closed_within(CONNECT_TIMEOUT + LATE).await?;
        // The server starts to count when it sends 101, which may be earlier than the client reads it.
        ensure!(since.elapsed() > CONNECT_TIMEOUT / 4, "closed after {:?}", since.elapsed());
        Ok(())
    })
    .await?;
    environment.all_sockets_are_closed(LATE).await?;
    Ok(AttackOutcome::of(count))
}

/// Peers whose machine has vanished: the kernel drops every packet for them, so nothing is acknowledged or refused.
pub async fn half_open(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(50, 1_000), environment.server.socket_address());
    let vanished = run_many(count, 50, move |number| async move {
        let client = RawClient::visitor(address, source_address(number)).await?;
        SockRef::from(&client.stream).attach_filter(&[DROP_ALL])?;
        Ok(client)
    });
    let vanished = Arc::new(vanished.await?);
    environment.all_sockets_are_closed(LATE).await?;
    let cut = environment.server.printed_times(&["ping_timeout"]);
    ensure!(cut == vanished.len(), "{cut} of {count} were closed for their silence");
    Ok(AttackOutcome::of(count))
}

const OPEN: &str = "/socket.io/?tenantId=demo&EIO=4&transport=polling";

/// More bytes than the service waits for.
const LONG: usize = 10_000;

/// The time between two bytes.
const BYTE_INTERVAL: Duration = Duration::from_millis(100);

/// More than the service waits for a head or a body.
const MAX_WAIT: Duration = Duration::from_secs(18);

/// Requests that arrive one byte at a time: a third in the head, a third in the body of a poll, a third in the body of a
/// message.
pub async fn drip(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(300, 3_000), environment.server.socket_address());
    run_many(count, count, move |number| async move {
        let mut client = RawClient::dial(address, source_address(number)).await?;
        let target = match number % 3 {
            0 => {
                let head = format!("GET {OPEN}&padding={}", "x".repeat(LONG));
                return slowly(&mut client, head.as_bytes()).await;
            }
            1 => {
                let (_, open) = client.request("GET", OPEN, b"").await?;
                let sid = open.split('"').nth(3).context("no sid")?.to_owned();
                format!("/socket.io/?EIO=4&transport=polling&sid={sid}")
            }
            _ => "/webchat/message".to_owned(),
        };
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: amoiq\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {WIDGET_KEY}\r\nContent-Length: {LONG}\r\n\r\n",
        );
        client.write(head.as_bytes()).await?;
        slowly(&mut client, &[b'{'; LONG]).await
    })
    .await?;
    environment.all_sockets_are_closed(MAX_WAIT).await?;
    Ok(AttackOutcome::of(count))
}

/// Sends a byte at a time until the server answers or closes.
async fn slowly(client: &mut RawClient, bytes: &[u8]) -> anyhow::Result<()> {
    let since = Instant::now();
    for byte in bytes {
        ensure!(since.elapsed() < MAX_WAIT, "the server waits without end");
        if client.stream.write_all(&[*byte]).await.is_err() {
            return Ok(());
        }
        match timeout(BYTE_INTERVAL, client.stream.readable()).await {
            Err(_nothing_came) => {}
            Ok(_answered_or_closed) => return Ok(()),
        }
    }
    Ok(())
}
