//! How many connections there may be: of one address, and together.

use std::time::Duration;

use amoiq_testkit::{TestApp, app_launcher::program_under_test};
use anyhow::{Context, ensure};

use crate::{
    attack,
    client::{Client, Opened, PATIENCE},
    pair::Pair,
};

/// Opens as many as there may be; the next is refused, with JSON that says why; and each place is free
/// again when its connection is closed. The pair has two places.
async fn refused_and_free_again(
    server: &TestApp,
    limit: usize,
    status: u16,
    code: &str,
) -> anyhow::Result<()> {
    let open = || Client::try_open(server.socket_address(), 1, "tenantId=demo");
    let mut clients = Vec::new();
    for _ in 2..limit {
        match open().await? {
            Opened::WebSocket(client) => clients.push(client),
            Opened::Refused(status, body) => anyhow::bail!("refused too early: {status} {body}"),
        }
    }
    for _ in 0..50 {
        let Opened::Refused(refused, body) = open().await? else { anyhow::bail!("one too many") };
        ensure!(refused == status && body == code, "{refused} {body}");
    }
    // A poll's session is a connection too.
    let poll = "/socket.io/?EIO=4&transport=polling";
    let mut poller = Client::dial(server.socket_address(), 1).await?;
    ensure!(poller.request("GET", poll, b"").await? == (status, code.to_owned()), "a poll is let in");
    drop(clients.pop().context("one is open")?);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while poller.request("GET", poll, b"").await?.0 != 200 {
        ensure!(tokio::time::Instant::now() < deadline, "its place is not free again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(matches!(open().await?, Opened::Refused(..)), "one place was free, and is taken");
    Ok(())
}

fn check(settings: &[(&str, &str)], limit: usize, status: u16, code: &str) {
    // Who is held at another limit is a fact of tests/wire: here nobody is.
    let settings = [settings, &[("AMOIQ__REALTIME__HELD_CONNECTIONS", "0")]].concat();
    let server = attack::start(&program_under_test(), &settings, None);
    let pair = Pair::start(server.socket_address()).expect("the pair is let in");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(refused_and_free_again(&server, limit, status, code)).expect("as it should be");
    pair.wait_for(10).expect("the pair is served");
    pair.stop().expect("the pair was served in full");
}

#[test]
fn one_address_has_so_many_connections_and_a_place_is_free_again_when_one_closes() {
    let code = r#"{"code":4,"message":"Too many connections from this address"}"#;
    check(&[("AMOIQ__REALTIME__CONNECTIONS_PER_IP", "40")], 40, 429, code);
}

#[test]
fn there_are_so_many_connections_together_and_a_place_is_free_again_when_one_closes() {
    let code = r#"{"code":4,"message":"Too many connections"}"#;
    check(&[("AMOIQ__REALTIME__MAX_CONNECTIONS", "40")], 40, 503, code);
}
