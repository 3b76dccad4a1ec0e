//! Attacks by long-polling and by upgrading from it.

use std::time::Duration;

use amoiq_testkit::WIDGET_KEY;
use anyhow::{Context, ensure};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    attack::{Outcome, Stage},
    client::Client,
    crowd::{crowd, source},
};

const OPEN: &str = "/socket.io/?tenantId=demo&EIO=4&transport=polling";

/// Heartbeat of the stage, twice over, and some time more.
const FORGOTTEN: Duration = Duration::from_secs(20);

/// Upgrades that stop half-way, each at another place.
pub async fn abandoned_upgrades(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(2_000, 10_000), stage.server.socket_address());
    let sids = crowd(count, 100, move |number| async move {
        let mut poller = Client::dial(address, source(number)).await?;
        let sid = open(&mut poller).await?;
        let mut upgrade = Client::open(address, source(number), &format!("sid={sid}")).await?;
        if number % 3 > 0 {
            upgrade.say("2probe").await?;
        }
        if number % 3 > 1 {
            let answer = upgrade.text().await?;
            ensure!(answer == "3probe", "{answer}");
        }
        Ok(sid)
    })
    .await?;
    stage.all_sockets_are_closed(FORGOTTEN).await?;
    // Nobody polls, so the sessions are forgotten as well. Asking for one earlier would keep it.
    stage
        .eventually("forgotten", FORGOTTEN, || Ok(stage.server.printed_times(&["ping_timeout"]) == count))
        .await?;
    let mut client = Client::dial(address, 1).await?;
    for sid in sids {
        let answer =
            client.request("GET", &format!("/socket.io/?EIO=4&transport=polling&sid={sid}"), b"").await?;
        ensure!(answer.1 == r#"{"code":1,"message":"Session ID unknown"}"#, "{answer:?}");
    }
    Ok(Outcome::of(count))
}

/// A poll that is answered every millisecond, and a new session every millisecond beside it.
pub async fn storm(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(1_500, 10_000), stage.server.socket_address());
    tokio::try_join!(polls(address, count), handshakes(address, count))?;
    stage.all_sockets_are_closed(FORGOTTEN).await?;
    Ok(Outcome::of(count))
}

async fn polls(address: std::net::SocketAddr, count: usize) -> anyhow::Result<()> {
    let mut client = Client::dial(address, 2).await?;
    let sid = open(&mut client).await?;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let connect = format!(r#"40{{"apiKey":"{WIDGET_KEY}"}}"#);
    client.request("POST", &target, connect.as_bytes()).await?;
    let welcome = poll(&mut client, &target).await?;
    ensure!(welcome.starts_with("40{\"sid\""), "not let in: {welcome}");
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

/// What waits for the client, or comes first. A ping in it is answered.
async fn poll(client: &mut Client, target: &str) -> anyhow::Result<String> {
    let (status, packets) = client.request("GET", target, b"").await?;
    ensure!(status == 200, "{status} {packets}");
    if packets.split('\u{1e}').any(|packet| packet == "2") {
        client.request("POST", target, b"3").await?;
    }
    Ok(packets)
}

async fn handshakes(address: std::net::SocketAddr, count: usize) -> anyhow::Result<()> {
    let mut client = Client::dial(address, 3).await?;
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

async fn open(client: &mut Client) -> anyhow::Result<String> {
    let (status, open) = client.request("GET", OPEN, b"").await?;
    ensure!(status == 200, "{status} {open}");
    Ok(open.split('"').nth(3).context("no sid")?.to_owned())
}
