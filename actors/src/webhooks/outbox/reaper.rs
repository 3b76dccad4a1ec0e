//! Forgets settled deliveries that are too old or too many: a reconciler, woken by a timer, that goes
//! through all lanes. It rests between its transactions, so that the lanes' own go first.

use std::time::Duration;

use actix::prelude::*;
use amoiq_events::Ambient;

use super::{Outbox, OutboxError, removal::CHUNK_ROWS};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long it rests after each transaction that removed something.
const REST: Duration = Duration::from_millis(20);

/// How long and how many settled deliveries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Since they were last written.
    pub keep_for: Duration,
    /// The most of one endpoint.
    pub keep: u32,
}

/// The actor that forgets.
pub struct Reaper {
    outbox: Outbox,
    ambient: Ambient,
    retention: Retention,
}

impl Reaper {
    /// Starts it on the caller's arbiter.
    pub fn start(outbox: Outbox, ambient: Ambient, retention: Retention) {
        Actor::start(Self { outbox, ambient, retention });
    }
}

impl Actor for Reaper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY.min(self.retention.keep_for), |reaper, ctx| {
            let (outbox, retention) = (reaper.outbox.clone(), reaper.retention);
            let keep_for = i64::try_from(retention.keep_for.as_millis()).unwrap_or(i64::MAX);
            let before = reaper.ambient.now().plus_millis(keep_for.saturating_neg());
            let work = async move {
                if let Err(error) = reap(&outbox, before, retention.keep).await {
                    tracing::warn!(%error, "old deliveries were not forgotten; trying again");
                }
            };
            // The next look waits until this one is done.
            ctx.wait(work.into_actor(reaper));
        });
    }
}

async fn reap(outbox: &Outbox, before: amoiq_events::Timestamp, keep: u32) -> Result<(), OutboxError> {
    for (lane, _, _) in outbox.lanes().await? {
        loop {
            match outbox.reap(lane, before, keep, CHUNK_ROWS).await {
                // A lane that was removed meanwhile has nothing to forget.
                Ok(0) | Err(OutboxError::NoLane) => break,
                Ok(_) => tokio::time::sleep(REST).await,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
