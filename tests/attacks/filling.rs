//! Attacks by writing much and leaving: what was written is for the disk, and not for memory.

use anyhow::ensure;

use crate::{
    attack::{Outcome, Stage},
    client::{Client, message},
    crowd::{crowd, source},
};

const AT_ONCE: usize = 20;

/// How many messages each visitor leaves, of how many characters.
const MESSAGES: usize = 10;
const CHARACTERS: usize = 9_900;

/// Visitors without a limit who each begin a session, fill it with long messages and leave. A second time they only
/// come, say a word in it, so that it is in memory again, and leave.
pub async fn fill(stage: &Stage) -> anyhow::Result<Outcome> {
    let (sessions, address) = (stage.scale.of(500, 10_000), stage.server.socket_address());
    for (said, characters) in [(MESSAGES, CHARACTERS), (1, 10)] {
        crowd(sessions, AT_ONCE, move |number| async move {
            let session = format!("session-that-is-filled-{number:06}");
            let mut client = Client::visitor(address, source(number)).await?;
            for text in 0..said {
                client.say(&message(&session, &format!("{text}-{}", "x".repeat(characters)))).await?;
                let back = client.text().await?;
                ensure!(back.contains(&format!("\"{text}-x")), "out of order");
            }
            Ok(())
        })
        .await?;
    }
    Ok(Outcome { connections: AT_ONCE, messages: (sessions * (MESSAGES + 1)) as u64, ..Outcome::default() })
}
