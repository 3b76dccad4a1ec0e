//! Visitors who write as fast as they are answered. All of them share one thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use amoiq_actors::sessions::SessionDirectory;
use amoiq_events::{
    Ambient, MessageText, SessionId, TenantId,
    event::EventCause,
    session::{MessageSender, SendMessage, SessionCaller, VisitedPage},
};

/// How many messages a visitor writes in a session before they start the next one.
const MESSAGES: usize = 20;

/// The text of each message.
const TEXT: &str =
    "Hello, I ordered the blue one last week and it has not come yet. Can you see where it is?";

/// A visitor.
pub(super) struct BenchVisitor {
    pub(super) directory: SessionDirectory,
    pub(super) ambient: Ambient,
    /// The prefix of the visitor's session ids, different for each visitor.
    pub(super) name: String,
    pub(super) end: Instant,
    /// How many messages all visitors together may still write.
    pub(super) left: Arc<AtomicU64>,
}

impl BenchVisitor {
    /// Writes until the end, and returns how long each message took, in microseconds.
    pub(super) async fn write(self) -> anyhow::Result<Vec<u32>> {
        let tenant = TenantId::parse("bench")?;
        let mut latencies_us = Vec::new();
        loop {
            let session = SessionId::parse(&format!("{}-{}", self.name, latencies_us.len()))?;
            for _ in 0..MESSAGES {
                let take = |left: u64| left.checked_sub(1);
                if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                    return Ok(latencies_us);
                }
                let since = Instant::now();
                self.say(&tenant, &session).await?;
                latencies_us.push(micros(since));
                if Instant::now() >= self.end {
                    return Ok(latencies_us);
                }
            }
        }
    }

    async fn say(&self, tenant: &TenantId, session: &SessionId) -> anyhow::Result<()> {
        let message = SendMessage {
            message_id: self.ambient.message_id(),
            caller: SessionCaller::Anonymous,
            sender: MessageSender::User,
            author: None,
            text: MessageText::parse(TEXT, TEXT.len())?,
            sender_name: None,
            client_message_id: None,
            client_timestamp: None,
            user_id: None,
            is_taken: false,
            user_info: None,
            fingerprint: None,
            page: VisitedPage::default(),
            conversation_id: self.ambient.event_id().into(),
        };
        let cause = EventCause { causation: "bench".into(), actor: "visitor".into() };
        self.directory.send(tenant, session, message, cause).await?;
        Ok(())
    }
}

/// The time since then, in microseconds.
pub(super) fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}
