//! Attacks with what is in a frame.

use std::time::Duration;

use amoiq_testkit::WIDGET_KEY;
use anyhow::{Context, ensure};

use crate::{
    attack::{Outcome, Stage},
    client::{Client, message},
    crowd::crowd,
    frame::{BINARY, Frame, PIECE, TEXT, TEXT_BEGIN, frame, header},
};

const SOON: Duration = Duration::from_secs(15);

/// How long what comes after a close is passed over before the connection breaks, and some time more.
const LINGERS: Duration = Duration::from_secs(5);

/// Declares a frame of eight gigabytes, which is refused before any of it has come, and streams it all
/// the same until the connection breaks.
pub async fn huge(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(10, 100), stage.server.socket_address());
    crowd(count, 50, move |_| async move {
        let mut client = Client::open(address, 1, "tenantId=demo").await?;
        ensure!(matches!(client.next().await?, Some(Frame::Text(_))), "no open packet");
        client.write(&header(BINARY, 8 << 30)).await?;
        let answer =
            tokio::time::timeout(SOON, client.next()).await.context("it waits for the payload")??;
        ensure!(answer == Some(Frame::Close(Some(1009))), "{answer:?}");
        let (payload, since) = ([0; 64 * 1024], tokio::time::Instant::now());
        while client.write(&payload).await.is_ok() {
            ensure!(since.elapsed() < LINGERS, "the server goes on reading");
        }
        Ok(())
    })
    .await?;
    stage.all_sockets_are_closed(SOON).await?;
    Ok(Outcome::of(count))
}

/// A million fragments of one byte.
pub async fn fragments(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(2, 20), stage.server.socket_address());
    crowd(count, 20, move |_| async move {
        let mut client = Client::visitor(address, 1).await?;
        client.write(&frame(TEXT_BEGIN, b"4")).await?;
        let pieces = frame(PIECE, b"2").repeat(10_000);
        for _ in 0..100 {
            // The server has closed when it breaks.
            if client.write(&pieces).await.is_err() {
                break;
            }
        }
        client.closed_within(SOON).await.map(drop)
    })
    .await?;
    stage.eventually("too large", SOON, || Ok(stage.server.printed_times(&["too_large"]) == count)).await?;
    Ok(Outcome::of(count))
}

/// Texts that are none, whole, in pieces, and in a poll's body.
pub async fn invalid_utf8(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(30, 300), stage.server.socket_address());
    crowd(count, 20, move |number| async move {
        let mut client = Client::visitor(address, 1).await?;
        match number % 3 {
            0 => client.write(&frame(TEXT, b"42[\"message\",\"\xff\xfe\"]")).await?,
            1 => {
                // Cut inside a character, and the rest of it is missing.
                client.write(&frame(TEXT_BEGIN, b"42[\"message\",\"\xc3")).await?;
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
    stage.eventually("malformed", SOON, || Ok(stage.server.printed_times(&["malformed"]) >= cut)).await?;
    Ok(Outcome::of(2 * count))
}

async fn polling(beside: &Client) -> anyhow::Result<(Client, String)> {
    let mut poller = Client::dial(beside.stream.peer_addr()?, 1).await?;
    let (_, open) = poller.request("GET", "/socket.io/?tenantId=demo&EIO=4&transport=polling", b"").await?;
    let sid = open.split('"').nth(3).context("no sid")?.to_owned();
    Ok((poller, sid))
}

/// Deep and wide JSON, before and after a client is let in, and over HTTP. Each is answered with an
/// error, or the connection is closed.
pub async fn json(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(40, 400), stage.server.socket_address());
    crowd(count, 40, move |number| async move {
        let json = match number / 4 % 5 {
            0 => format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            1 => format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000)),
            2 => format!("[{}0]", "0,".repeat(450_000)),
            3 => format!("{{{}\"z\":0}}", (0..60_000).map(|n| format!("\"a{n}\":0,")).collect::<String>()),
            _ => format!("[{}]", "[".repeat(900_000)),
        };
        match number % 4 {
            0 => {
                let mut client = Client::visitor(address, 1).await?;
                client.say(&format!("42[\"message\",{json}]")).await?;
                refused(&mut client).await
            }
            1 => {
                let mut client = Client::visitor(address, 1).await?;
                let event =
                    message("session-of-json", "x").replace("\"x\"", &format!("\"x\",\"userInfo\":{json}"));
                client.say(&event).await?;
                refused(&mut client).await
            }
            2 => {
                let mut client = Client::open(address, 1, "tenantId=demo").await?;
                client.say(&format!("40{{\"apiKey\":\"{WIDGET_KEY}x\",\"more\":{json}}}")).await?;
                refused(&mut client).await
            }
            _ => {
                let mut client = Client::dial(address, 1).await?;
                let body = format!(r#"{{"sessionId":"session-of-json","text":"x","userInfo":{json}}}"#);
                // What is too large may be refused before all of it was sent.
                let status =
                    client.request("POST", "/webchat/message", body.as_bytes()).await.map(|answer| answer.0);
                ensure!(!matches!(status, Ok(200 | 500..)), "{status:?}");
                Ok(())
            }
        }
    })
    .await?;
    Ok(Outcome::of(count))
}

/// Whether a client is told that it may not, or closed.
async fn refused(client: &mut Client) -> anyhow::Result<()> {
    let ends = async {
        loop {
            match client.next().await {
                Ok(Some(Frame::Text(text))) if text.starts_with("0{") || text == "2" => {}
                Ok(Some(Frame::Text(text))) => {
                    let is_refusal = text.starts_with("42[\"error\"") || text.starts_with("44{");
                    ensure!(is_refusal, "it was taken: {text}");
                    return Ok(());
                }
                Ok(Some(Frame::Close(_)) | None) | Err(_) => return Ok(()),
                Ok(Some(Frame::Other)) => {}
            }
        }
    };
    tokio::time::timeout(SOON, ends).await.context("neither refused nor closed")?
}
