//! The limits of connections: for one address, and in all.

use std::time::Duration;

use amoiq_testkit::{TestApp, app_launcher::program_under_test};
use anyhow::{Context, ensure};

use crate::{
    attack,
    raw_client::{RawClient, TIMEOUT, UpgradeAnswer},
    well_behaved_pair::WellBehavedPair,
};

/// Opens as many connections as allowed; the next is refused with JSON that says why; and a closed connection makes room
/// for another. The pair has two of them.
async fn refused_and_free_again(
    server: &TestApp,
    limit: usize,
    status: u16,
    code: &str,
) -> anyhow::Result<()> {
    let open = || RawClient::try_open(server.socket_address(), 1, "tenantId=demo");
    let mut clients = Vec::new();
    for _ in 2..limit {
        match open().await? {
            UpgradeAnswer::WebSocket(client) => clients.push(client),
            UpgradeAnswer::Refused(status, body) => anyhow::bail!("refused too early: {status} {body}"),
        }
    }
    for _ in 0..50 {
        let UpgradeAnswer::Refused(refused, body) = open().await? else { anyhow::bail!("one too many") };
        ensure!(refused == status && body == code, "{refused} {body}");
    }
    // A polling session is a connection too.
    let poll = "/socket.io/?EIO=4&transport=polling";
    let mut poller = RawClient::dial(server.socket_address(), 1).await?;
    ensure!(poller.request("GET", poll, b"").await? == (status, code.to_owned()), "a poll is accepted");
    drop(clients.pop().context("one is open")?);
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    while poller.request("GET", poll, b"").await?.0 != 200 {
        ensure!(tokio::time::Instant::now() < deadline, "a closed connection makes no room");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(matches!(open().await?, UpgradeAnswer::Refused(..)), "there was room for one only");
    Ok(())
}

fn check(settings: &[(&str, &str)], limit: usize, status: u16, code: &str) {
    // The tests of socketio/tests/wire are about held connections; here none is held.
    let settings = [settings, &[("AMOIQ__REALTIME__HELD_CONNECTIONS", "0")]].concat();
    let server = attack::start(&program_under_test(), &settings, None);
    let pair = WellBehavedPair::start(server.socket_address()).expect("the pair connects");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(refused_and_free_again(&server, limit, status, code)).expect("the limit holds");
    pair.wait_for(10).expect("the pair is served");
    pair.stop().expect("the pair was served in full");
}

#[test]
fn an_address_has_a_limit_of_connections_and_a_closed_one_makes_room() {
    let code = r#"{"code":4,"message":"Too many connections from this address"}"#;
    check(&[("AMOIQ__REALTIME__CONNECTIONS_PER_IP", "40")], 40, 429, code);
}

#[test]
fn all_connections_have_a_limit_and_a_closed_one_makes_room() {
    let code = r#"{"code":4,"message":"Too many connections"}"#;
    check(&[("AMOIQ__REALTIME__MAX_CONNECTIONS", "40")], 40, 503, code);
}
