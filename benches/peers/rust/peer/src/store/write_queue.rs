//! Messages that wait for the one writer, which takes all that wait at once.

use anyhow::{Context, anyhow};
use tokio::sync::{mpsc, oneshot};

use super::{NewMessage, StoredMessage};

/// How many messages wait at most, and how many are one transaction.
const WAITING: usize = 8_192;
pub const GROUP: usize = 1_024;

/// A message, and who waits for it.
pub struct QueuedMessage {
    pub message: NewMessage,
    answer: oneshot::Sender<anyhow::Result<StoredMessage>>,
}

/// The way to the writer.
pub struct WriteQueue {
    sender: mpsc::Sender<QueuedMessage>,
}

impl WriteQueue {
    /// A queue, and its end at the writer.
    pub fn new() -> (Self, mpsc::Receiver<QueuedMessage>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender }, receiver)
    }

    /// Stores a message, and returns once it is durable.
    pub async fn store(&self, message: NewMessage) -> anyhow::Result<StoredMessage> {
        let (answer, stored) = oneshot::channel();
        self.sender.send(QueuedMessage { message, answer }).await.map_err(|_closed| anyhow!("no writer"))?;
        stored.await.context("the writer has ended")?
    }
}

/// Answers everybody of a group.
pub fn answer_all(group: impl Iterator<Item = QueuedMessage>, stored: anyhow::Result<Vec<StoredMessage>>) {
    match stored {
        Ok(stored) => {
            for (queued, stored) in group.zip(stored) {
                // Whoever asked may have gone.
                drop(queued.answer.send(Ok(stored)));
            }
        }
        Err(error) => {
            for queued in group {
                drop(queued.answer.send(Err(anyhow!("{error:#}"))));
            }
        }
    }
}
