//! Attacks that send more than is handled, that do not read what comes, and that fill the disk.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use tokio::io::AsyncWriteExt;

use crate::{
    attack::{AttackEnvironment, AttackOutcome},
    concurrency::{run_many, source_address},
    raw_client::{RawClient, message},
    websocket_frame::{TEXT, frame},
};

/// How long they send.
const HURRY: Duration = Duration::from_secs(3);

const SPEAKERS: usize = 16;

const DEAF: usize = 8;

/// By then the kernel has dropped a peer that takes nothing, and the service has closed it.
const GIVEN_UP: Duration = Duration::from_secs(40);

/// Admins that never read while sixteen visitors send a kilobyte at a time.
pub async fn never_reads(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (each, address) =
        (environment.scale.of(20_000, 100_000) / SPEAKERS, environment.server.socket_address());
    let not_reading = run_many(DEAF, DEAF, move |_| slow_admin(address)).await?;
    run_many(SPEAKERS, SPEAKERS, move |number| async move {
        let (session, mut client) =
            (format!("session-of-speaker-{number}"), RawClient::visitor(address, 1).await?);
        let filler = "x".repeat(1_000);
        for said in 0..each {
            client.send_text(&message(&session, &format!("{said}-{filler}"))).await?;
            let back = client.message().await?;
            ensure!(back.contains(&format!("\"{said}-x")), "out of order");
        }
        Ok(())
    })
    .await?;
    environment
        .eventually("too slow", GIVEN_UP, || Ok(environment.server.printed_times(&["too_slow"]) == DEAF))
        .await?;
    environment.all_sockets_are_closed(GIVEN_UP).await?;
    drop(not_reading);
    Ok(AttackOutcome { connections: SPEAKERS + DEAF, not_reading: DEAF, messages: (each * SPEAKERS) as u64 })
}

/// An admin with the smallest receive buffer.
async fn slow_admin(address: SocketAddr) -> anyhow::Result<RawClient> {
    let admin = RawClient::admin(address).await?;
    socket2::SockRef::from(&admin.stream).set_recv_buffer_size(4_096)?;
    Ok(admin)
}

/// Clients that request lists as fast as they can and read none of them.
pub async fn never_reads_answers(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(10, 100), environment.server.socket_address());
    let visitors = run_many(200, 50, move |_| RawClient::visitor(address, 1)).await?;
    run_many(count, count, move |_| async move {
        let mut client = slow_admin(address).await?;
        let ask = frame(TEXT, br#"421["get_online_users",{}]"#).repeat(100);
        // The service cuts it or reads no more of it; both are right.
        let asking = async { while client.write(&ask).await.is_ok() {} };
        let _not_read_on = tokio::time::timeout(Duration::from_secs(5), asking).await;
        Ok(())
    })
    .await?;
    drop(visitors);
    Ok(AttackOutcome { connections: count + 200, not_reading: count, messages: 0 })
}

/// Clients that send small frames as fast as they can: pongs that nobody asked for, without a CONNECT, and events, while
/// they read the answers.
pub async fn hurry(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(10, 50), environment.server.socket_address());
    run_many(count, count, move |number| async move {
        let (client, small) = if number % 2 == 0 {
            (RawClient::open(address, 1, "tenantId=demo").await?, frame(TEXT, b"3"))
        } else {
            (RawClient::visitor(address, 1).await?, frame(TEXT, b"421[\"nothing\"]"))
        };
        let (mut reads, mut writes) = client.stream.into_split();
        let many = small.repeat(10_000);
        let send = async { while writes.write_all(&many).await.is_ok() {} };
        let mut sink = tokio::io::sink();
        // The server may cut them or slow them down.
        let both = async { tokio::join!(send, tokio::io::copy(&mut reads, &mut sink)) };
        let _still_at_it = tokio::time::timeout(HURRY, both).await;
        Ok(())
    })
    .await?;
    environment.all_sockets_are_closed(GIVEN_UP).await?;
    Ok(AttackOutcome::of(count))
}

const AT_ONCE: usize = 20;

/// How many messages each visitor sends, and of how many characters.
const MESSAGES: usize = 10;
const CHARACTERS: usize = 9_900;

/// Visitors without a limit start a session each, fill it with long messages and leave. Then each returns, sends a short
/// message, which loads the session into memory again, and leaves.
pub async fn fill(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (sessions, address) = (environment.scale.of(500, 10_000), environment.server.socket_address());
    for (said, characters) in [(MESSAGES, CHARACTERS), (1, 10)] {
        run_many(sessions, AT_ONCE, move |number| async move {
            let session = format!("session-that-is-filled-{number:06}");
            let mut client = RawClient::visitor(address, source_address(number)).await?;
            for text in 0..said {
                client.send_text(&message(&session, &format!("{text}-{}", "x".repeat(characters)))).await?;
                let back = client.message().await?;
                ensure!(back.contains(&format!("\"{text}-x")), "out of order");
            }
            Ok(())
        })
        .await?;
    }
    Ok(AttackOutcome {
        connections: AT_ONCE,
        messages: (sessions * (MESSAGES + 1)) as u64,
        ..AttackOutcome::default()
    })
}
