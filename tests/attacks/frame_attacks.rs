//! Attacks with the content of frames.

use std::time::Duration;

use amoiq_testkit::WIDGET_KEY;
use anyhow::{Context, ensure};

use crate::{
    attack::{AttackEnvironment, AttackOutcome},
    concurrency::run_many,
    raw_client::{RawClient, message},
    websocket_frame::{BINARY, CONTINUATION, ServerFrame, TEXT, TEXT_START, frame, header},
};

const SOON: Duration = Duration::from_secs(15);

/// More than the time for which the server discards bytes after its close frame.
const LINGER: Duration = Duration::from_secs(5);

/// Announces a frame of eight gigabytes, which the server refuses before any of it has arrived, and streams it all the
/// same until the connection breaks.
pub async fn huge(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(10, 100), environment.server.socket_address());
    run_many(count, 50, move |_| async move {
        let mut client = RawClient::open(address, 1, "tenantId=demo").await?;
        ensure!(matches!(client.next().await?, Some(ServerFrame::Text(_))), "no open packet");
        client.write(&header(BINARY, 8 << 30)).await?;
        let answer =
            tokio::time::timeout(SOON, client.next()).await.context("the server waits for the payload")??;
        ensure!(answer == Some(ServerFrame::Close(Some(1009))), "{answer:?}");
        let (payload, since) = ([0; 64 * 1024], tokio::time::Instant::now());
        while client.write(&payload).await.is_ok() {
            ensure!(since.elapsed() < LINGER, "the server goes on reading");
        }
        Ok(())
    })
    .await?;
    environment.all_sockets_are_closed(SOON).await?;
    Ok(AttackOutcome::of(count))
}

/// A million fragments of one byte.
pub async fn fragments(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(2, 20), environment.server.socket_address());
    run_many(count, 20, move |_| async move {
        let mut client = RawClient::visitor(address, 1).await?;
        client.write(&frame(TEXT_START, b"4")).await?;
        let pieces = frame(CONTINUATION, b"2").repeat(10_000);
        for _ in 0..100 {
            // The server has closed the connection when this fails.
            if client.write(&pieces).await.is_err() {
                break;
            }
        }
        client.closed_within(SOON).await.map(drop)
    })
    .await?;
    environment
        .eventually("too large", SOON, || Ok(environment.server.printed_times(&["too_large"]) == count))
        .await?;
    Ok(AttackOutcome::of(count))
}

/// Texts that are not UTF-8: in one frame, in fragments, and in the body of a poll.
pub async fn invalid_utf8(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(30, 300), environment.server.socket_address());
    run_many(count, 20, move |number| async move {
        let mut client = RawClient::visitor(address, 1).await?;
        match number % 3 {
            0 => client.write(&frame(TEXT, b"42[\"message\",\"\xff\xfe\"]")).await?,
            1 => {
                // The second fragment does not complete the character.
                client.write(&frame(TEXT_START, b"42[\"message\",\"\xc3")).await?;
                client.write(&frame(0x80, b"\"]")).await?;
            }
            _ => {
                let (mut poller, sid) = polling(&client).await?;
                let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
                let (status, body) = poller.request("POST", &target, b"42[\"\xff\"]").await?;
                ensure!(status == 400, "{status} {body}");
                return Ok(());
            }
        }
        client.closed_within(SOON).await.map(drop)
    })
    .await?;
    let cut = count - count / 3;
    environment
        .eventually("malformed", SOON, || Ok(environment.server.printed_times(&["malformed"]) >= cut))
        .await?;
    Ok(AttackOutcome::of(2 * count))
}

async fn polling(beside: &RawClient) -> anyhow::Result<(RawClient, String)> {
    let mut poller = RawClient::dial(beside.stream.peer_addr()?, 1).await?;
    let (_, open) = poller.request("GET", "/socket.io/?tenantId=demo&EIO=4&transport=polling", b"").await?;
    let sid = open.split('"').nth(3).context("no sid")?.to_owned();
    Ok((poller, sid))
}

/// Deep and wide JSON: in CONNECT, in events, and over HTTP. The server answers with an error or closes the connection.
pub async fn json(environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
    let (count, address) = (environment.scale.of(40, 400), environment.server.socket_address());
    run_many(count, 40, move |number| async move {
        let json = match number / 4 % 5 {
            0 => format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            1 => format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000)),
            2 => format!("[{}0]", "0,".repeat(450_000)),
            3 => format!("{{{}\"z\":0}}", (0..60_000).map(|n| format!("\"a{n}\":0,")).collect::<String>()),
            _ => format!("[{}]", "[".repeat(900_000)),
        };
        match number % 4 {
            0 => {
                let mut client = RawClient::visitor(address, 1).await?;
                client.send_text(&format!("42[\"message\",{json}]")).await?;
                refused(&mut client).await
            }
            1 => {
                let mut client = RawClient::visitor(address, 1).await?;
                let event =
                    message("session-of-json", "x").replace("\"x\"", &format!("\"x\",\"userInfo\":{json}"));
                client.send_text(&event).await?;
                refused(&mut client).await
            }
            2 => {
                let mut client = RawClient::open(address, 1, "tenantId=demo").await?;
                client.send_text(&format!("40{{\"apiKey\":\"{WIDGET_KEY}x\",\"more\":{json}}}")).await?;
                refused(&mut client).await
            }
            _ => {
                let mut client = RawClient::dial(address, 1).await?;
                let body = format!(r#"{{"sessionId":"session-of-json","text":"x","userInfo":{json}}}"#);
                // The server may refuse a large body before all of it was sent.
                let status =
                    client.request("POST", "/webchat/message", body.as_bytes()).await.map(|answer| answer.0);
                ensure!(!matches!(status, Ok(200 | 500..)), "{status:?}");
                Ok(())
            }
        }
    })
    .await?;
    Ok(AttackOutcome::of(count))
}

/// Checks that a client is refused or closed.
async fn refused(client: &mut RawClient) -> anyhow::Result<()> {
    let ends = async {
        loop {
            match client.next().await {
                Ok(Some(ServerFrame::Text(text))) if text.starts_with("0{") || text == "2" => {}
                Ok(Some(ServerFrame::Text(text))) => {
                    let is_refusal = text.starts_with("42[\"error\"") || text.starts_with("44{");
                    ensure!(is_refusal, "it was accepted: {text}");
                    return Ok(());
                }
                Ok(Some(ServerFrame::Close(_)) | None) | Err(_) => return Ok(()),
                Ok(Some(ServerFrame::Other)) => {}
            }
        }
    };
    tokio::time::timeout(SOON, ends).await.context("neither refused nor closed")?
}
