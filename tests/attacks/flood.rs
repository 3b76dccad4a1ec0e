//! Attacks by sending more than is handled, and by not reading what comes.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;
use tokio::io::AsyncWriteExt;

use crate::{
    attack::{Outcome, Stage},
    client::{Client, message},
    crowd::crowd,
    frame::{TEXT, frame},
};

/// How long they hurry.
const HURRY: Duration = Duration::from_secs(3);

const SPEAKERS: usize = 16;

const DEAF: usize = 8;

/// After so long the kernel has given up a peer that takes nothing, and the service has closed it.
const GIVEN_UP: Duration = Duration::from_secs(40);

/// Admins that never read, while sixteen visitors say a kilobyte at a time.
pub async fn never_reads(stage: &Stage) -> anyhow::Result<Outcome> {
    let (each, address) = (stage.scale.of(20_000, 100_000) / SPEAKERS, stage.server.socket_address());
    let deaf = crowd(DEAF, DEAF, move |_| deaf_admin(address)).await?;
    crowd(SPEAKERS, SPEAKERS, move |number| async move {
        let (session, mut client) =
            (format!("session-of-speaker-{number}"), Client::visitor(address, 1).await?);
        let filler = "x".repeat(1_000);
        for said in 0..each {
            client.say(&message(&session, &format!("{said}-{filler}"))).await?;
            let back = client.text().await?;
            ensure!(back.contains(&format!("\"{said}-x")), "out of order");
        }
        Ok(())
    })
    .await?;
    stage.eventually("too slow", GIVEN_UP, || Ok(stage.server.printed_times(&["too_slow"]) == DEAF)).await?;
    stage.all_sockets_are_closed(GIVEN_UP).await?;
    drop(deaf);
    Ok(Outcome { connections: SPEAKERS + DEAF, deaf: DEAF, messages: (each * SPEAKERS) as u64 })
}

/// An admin in whose name the kernel takes in as little as it can.
async fn deaf_admin(address: SocketAddr) -> anyhow::Result<Client> {
    let admin = Client::admin(address).await?;
    socket2::SockRef::from(&admin.stream).set_recv_buffer_size(4_096)?;
    Ok(admin)
}

/// Clients that ask for lists as fast as they can and read none of them.
pub async fn never_reads_answers(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(10, 100), stage.server.socket_address());
    let visitors = crowd(200, 50, move |_| Client::visitor(address, 1)).await?;
    crowd(count, count, move |_| async move {
        let mut client = deaf_admin(address).await?;
        let ask = frame(TEXT, br#"421["get_online_users",{}]"#).repeat(100);
        // It is cut, or nothing more of it is read: both are well.
        let asking = async { while client.write(&ask).await.is_ok() {} };
        let _not_read_on = tokio::time::timeout(Duration::from_secs(5), asking).await;
        Ok(())
    })
    .await?;
    drop(visitors);
    Ok(Outcome { connections: count + 200, deaf: count, messages: 0 })
}

/// Clients that send small frames as fast as they can: answers to pings that nobody sent, without ever
/// saying who they are, and events, reading what comes.
pub async fn hurry(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(10, 50), stage.server.socket_address());
    crowd(count, count, move |number| async move {
        let (client, small) = if number % 2 == 0 {
            (Client::open(address, 1, "tenantId=demo").await?, frame(TEXT, b"3"))
        } else {
            (Client::visitor(address, 1).await?, frame(TEXT, b"421[\"nothing\"]"))
        };
        let (mut reads, mut writes) = client.stream.into_split();
        let many = small.repeat(10_000);
        let send = async { while writes.write_all(&many).await.is_ok() {} };
        let mut sink = tokio::io::sink();
        // Both for a while; whether the server cuts them or holds them up is its own affair.
        let both = async { tokio::join!(send, tokio::io::copy(&mut reads, &mut sink)) };
        let _still_at_it = tokio::time::timeout(HURRY, both).await;
        Ok(())
    })
    .await?;
    stage.all_sockets_are_closed(GIVEN_UP).await?;
    Ok(Outcome::of(count))
}
