//! Attacks by taking for ever: requests that come a byte at a time.

use std::time::Duration;

use amoiq_testkit::WIDGET_KEY;
use anyhow::{Context, ensure};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout},
};

use crate::{
    attack::{Outcome, Stage},
    client::Client,
    crowd::{crowd, source},
};

const OPEN: &str = "/socket.io/?tenantId=demo&EIO=4&transport=polling";

/// More than there is patience for, in bytes.
const LONG: usize = 10_000;

/// A byte comes this often.
const PACE: Duration = Duration::from_millis(100);

/// What the service grants a head or a body, and some time more.
const AT_MOST: Duration = Duration::from_secs(18);

/// Requests that come a byte at a time: a third stops in the head, a third in the body of a poll, a third
/// in that of a message.
pub async fn drip(stage: &Stage) -> anyhow::Result<Outcome> {
    let (count, address) = (stage.scale.of(300, 3_000), stage.server.socket_address());
    crowd(count, count, move |number| async move {
        let mut client = Client::dial(address, source(number)).await?;
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
    stage.all_sockets_are_closed(AT_MOST).await?;
    Ok(Outcome::of(count))
}

/// Sends a byte at a time until the server answers or closes.
async fn slowly(client: &mut Client, bytes: &[u8]) -> anyhow::Result<()> {
    let since = Instant::now();
    for byte in bytes {
        ensure!(since.elapsed() < AT_MOST, "the server waits for ever");
        if client.stream.write_all(&[*byte]).await.is_err() {
            return Ok(());
        }
        match timeout(PACE, client.stream.readable()).await {
            Err(_nothing_came) => {}
            Ok(_answered_or_closed) => return Ok(()),
        }
    }
    Ok(())
}
