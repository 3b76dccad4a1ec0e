//! How far the log is now, whichever node appended: what a read asks first that has to contain everything that was
//! acknowledged.
//!
//! Whoever asks while the database is being asked waits for the next question, which is one for all of them: so there is
//! at most one at a time, however many read.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, timeout_at},
};

use crate::{
    Position,
    postgres::{CallFailure, DatabaseThread, timing},
    store::{
        ReadError, StoreFuture,
        feed::LogFeed,
        postgres::{history::known_end::KnownEnd, reading::log_reads::LogReads},
    },
};

/// How many may wait for an answer; one more is answered [`ReadError::Overloaded`].
const QUEUE: usize = 4_096;

/// Asks how far the log is. Clones ask together.
#[derive(Clone)]
pub(in crate::store::postgres) struct CurrentHead {
    shared: Arc<HeadQuestions>,
    thread: DatabaseThread,
}

struct HeadQuestions {
    reads: LogReads,
    known: Arc<KnownEnd>,
    feed: Arc<LogFeed>,
    /// Wakes the follower.
    woken: Arc<Notify>,
    waiting: AtomicUsize,
    /// How many questions were asked.
    asked: AtomicU64,
    /// The newest answer. Locked while it is asked for.
    newest: Mutex<HeadAnswer>,
}

/// The answer to a question.
struct HeadAnswer {
    /// The number of the question.
    question: u64,
    head: Result<Position, ReadError>,
}

impl CurrentHead {
    pub(in crate::store::postgres) fn new(
        thread: DatabaseThread,
        reads: LogReads,
        known: Arc<KnownEnd>,
        feed: Arc<LogFeed>,
        woken: Arc<Notify>,
    ) -> Self {
        let newest = Mutex::new(HeadAnswer { question: 0, head: Ok(feed.head()) });
        let (waiting, asked) = (AtomicUsize::new(0), AtomicU64::new(0));
        let shared = HeadQuestions { reads, known, feed, woken, waiting, asked, newest };
        Self { shared: Arc::new(shared), thread }
    }

    /// The newest position of the log, once everything up to there was handed to this node's subscribers.
    pub(in crate::store::postgres) fn ask(&self) -> StoreFuture<Result<Position, ReadError>> {
        let questions = Arc::clone(&self.shared);
        if questions.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            questions.waiting.fetch_sub(1, Ordering::Relaxed);
            return Box::pin(std::future::ready(Err(ReadError::Overloaded)));
        }
        let asking = self.thread.spawn(async move {
            let answer = timeout_at(Instant::now() + timing::READ, questions.reach_head()).await;
            questions.waiting.fetch_sub(1, Ordering::Relaxed);
            answer.unwrap_or_else(|_late| Err(CallFailure::silent().into()))
        });
        let closed = || ReadError::Unavailable("the store is closed".to_owned());
        Box::pin(async move { asking.await.unwrap_or_else(|_ended| Err(closed())) })
    }
}

impl HeadQuestions {
    async fn reach_head(&self) -> Result<Position, ReadError> {
        let head = self.head().await?;
        if self.feed.head() < head {
            self.woken.notify_one();
            self.feed.reach(head).await;
        }
        Ok(head.max(self.feed.head()))
    }

    /// An answer to a question that was asked after this.
    async fn head(&self) -> Result<Position, ReadError> {
        let before = self.asked.load(Ordering::SeqCst);
        let mut newest = self.newest.lock().await;
        if newest.question <= before {
            let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            let head = self.ask_database().await;
            *newest = HeadAnswer { question, head };
        }
        newest.head.clone()
    }

    async fn ask_database(&self) -> Result<Position, ReadError> {
        Ok(self.reads.state(self.known.values()).await?.head)
    }
}
