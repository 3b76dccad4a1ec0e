//! Attacks with long-polling and upgrades.

use std::time::Duration;

use amoiq_testkit::WIDGET_KEY;
use anyhow::{Context, ensure};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    attack::{AttackEnvironment, AttackOutcome},
    concurrency::{run_many, source_address},
    raw_client::RawClient,
};

const OPEN: &str = "/socket.io/?tenantId=demo&EIO=4&transport=polling";

/// More than two heartbeats.
const FORGOTTEN: Duration = Duration::from_secs(20);

/// Upgrades that stop at different steps.
pub async fn abandoned_upgrades(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(2_000, 10_000), environment.server.socket_address());
    let sids = run_many(count, 100, move |number| async move {
        let mut poller = RawClient::dial(address, source_address(number)).await?;
        let sid = open(&mut poller).await?;
        let mut upgrade = RawClient::open(address, source_address(number), &format!("sid={sid}")).await?;
        if number % 3 > 0 {
            upgrade.send_text("2probe").await?;
        }
        if number % 3 > 1 {
            let answer = upgrade.text().await?;
            ensure!(answer == "3probe", "{answer}");
        }
        Ok(sid)
    })
    .await?;
    environment.all_sockets_are_closed(FORGOTTEN).await?;
    // Nobody polls, so the sessions end too. A request for one would keep it.
    environment
        .eventually("forgotten", FORGOTTEN, || {
            Ok(environment.server.printed_times(&["ping_timeout"]) == count)
        })
        .await?;
    let mut client = RawClient::dial(address, 1).await?;
    for sid in sids {
        let answer =
            client.request("GET", &format!("/socket.io/?EIO=4&transport=polling&sid={sid}"), b"").await?;
        ensure!(answer.1 == r#"{"code":1,"message":"Session ID unknown"}"#, "{answer:?}");
    }
    Ok(AttackOutcome::of(count))
}

/// A poll and a new session every millisecond.
pub async fn storm(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(1_500, 10_000), environment.server.socket_address());
    tokio::try_join!(polls(address, count), handshakes(address, count))?;
    environment.all_sockets_are_closed(FORGOTTEN).await?;
    Ok(AttackOutcome::of(count))
}

async fn polls(address: std::net::SocketAddr, count: usize) -> anyhow::Result<()> {
    let mut client = RawClient::dial(address, 2).await?;
    let sid = open(&mut client).await?;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let connect = format!(r#"40{{"apiKey":"{WIDGET_KEY}"}}"#);
    client.request("POST", &target, connect.as_bytes()).await?;
    let welcome = poll(&mut client, &target).await?;
    ensure!(welcome.starts_with("40{\"sid\""), "not connected: {welcome}");
    let mut pace = every_millisecond();
    for number in 0..count {
        pace.tick().await;
        let posted = client.request("POST", &target, format!("42{number}[\"nothing\"]").as_bytes()).await?;
        ensure!(posted == (200, "ok".to_owned()), "{posted:?}");
        let answered = format!("43{number}[");
        while !poll(&mut client, &target).await?.contains(&answered) {}
    }
    Ok(())
}

/// Polls once. A ping in the payload is answered.
async fn poll(client: &mut RawClient, target: &str) -> anyhow::Result<String> {
    let (status, packets) = client.request("GET", target, b"").await?;
    ensure!(status == 200, "{status} {packets}");
    if packets.split('\u{1e}').any(|packet| packet == "2") {
        client.request("POST", target, b"3").await?;
    }
    Ok(packets)
}

async fn handshakes(address: std::net::SocketAddr, count: usize) -> anyhow::Result<()> {
    let mut client = RawClient::dial(address, 3).await?;
    let mut pace = every_millisecond();
    for _ in 0..count {
        pace.tick().await;
        open(&mut client).await?;
    }
    Ok(())
}

fn every_millisecond() -> tokio::time::Interval {
    let mut pace = interval(Duration::from_millis(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

async fn open(client: &mut RawClient) -> anyhow::Result<String> {
    let (status, open) = client.request("GET", OPEN, b"").await?;
    ensure!(status == 200, "{status} {open}");
    Ok(open.split('"').nth(3).context("no sid")?.to_owned())
}
