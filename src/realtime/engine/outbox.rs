//! What waits for a client: packets in order, bounded in bytes.
//!
//! What others are sent too may be more than the bound for a moment: one commit of the log can hold more than that,
//! and a client has no time to read in between. It may be [`BURST`] times as much for some seconds. While they wait
//! such packets are shared by all who are sent them; no transport is handed more than the bound at once, since what
//! it is handed is its own.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Metrics, Outgoing};

/// How many times the bound may wait while a client reads a burst.
pub const BURST: usize = 8;

/// How long a client may take until no more than the bound waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a packet costs beside its bytes: a place in the queue.
const PACKET_BYTES: usize = 64;

/// How much is handed to a websocket at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The outbox of one connection.
pub struct Outbox {
    packets: VecDeque<Outgoing>,
    bytes: usize,
    limit_bytes: usize,
    /// A burst that is over the bound. Boxed: it is seldom there, and every connection has a place for it.
    burst: Option<Box<Burst>>,
    metrics: Arc<Metrics>,
}

/// More than the bound, for a moment.
#[derive(Debug, Clone, Copy)]
struct Burst {
    since: Instant,
    /// What came meanwhile and nobody else is sent.
    own_bytes: usize,
}

/// The outbox is full: the client reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(limit_bytes: usize, metrics: Arc<Metrics>) -> Self {
        Self { packets: VecDeque::new(), bytes: 0, limit_bytes, burst: None, metrics }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Adds a packet that others are sent too at the end; it may begin a burst.
    ///
    /// # Errors
    /// [`Full`]; the packet is not in it then.
    pub fn push_shared(&mut self, packet: Outgoing) -> Result<(), Full> {
        let bytes = cost(&packet);
        if self.bytes + bytes > self.limit_bytes {
            self.burst.get_or_insert_with(|| Box::new(Burst { since: Instant::now(), own_bytes: 0 }));
        }
        let limit = match &self.burst {
            Some(burst) if burst.since.elapsed() < PATIENCE => self.limit_bytes.saturating_mul(BURST),
            _ => self.limit_bytes,
        };
        self.add(packet, bytes, self.bytes + bytes <= limit)
    }

    /// Adds a packet at the end that nobody else is sent.
    ///
    /// # Errors
    /// [`Full`]; the packet is not in it then.
    pub fn push(&mut self, packet: Outgoing) -> Result<(), Full> {
        let bytes = cost(&packet);
        let (limit, patience) = (self.limit_bytes, PATIENCE);
        let fits = match &mut self.burst {
            Some(burst) => {
                burst.own_bytes += bytes;
                burst.own_bytes <= limit && burst.since.elapsed() < patience
            }
            None => self.bytes + bytes <= limit,
        };
        self.add(packet, bytes, fits)
    }

    /// One packet always fits, however large it is.
    fn add(&mut self, packet: Outgoing, bytes: usize, fits: bool) -> Result<(), Full> {
        if !fits && !self.is_empty() {
            return Err(Full);
        }
        self.bytes += bytes;
        self.metrics.queued(bytes);
        self.packets.push_back(packet);
        Ok(())
    }

    /// Takes what one batch for a websocket holds, at least one packet when there is any.
    pub fn take_batch(&mut self) -> VecDeque<Outgoing> {
        self.take(BATCH_BYTES)
    }

    /// Takes as much as may wait, at least one packet when there is any: all, unless there is a burst.
    pub fn take_bound(&mut self) -> VecDeque<Outgoing> {
        self.take(self.limit_bytes)
    }

    fn take(&mut self, most_bytes: usize) -> VecDeque<Outgoing> {
        let mut bytes = 0;
        let fits = |packet: &&Outgoing| {
            let first = bytes == 0;
            let with_it = bytes + cost(packet);
            let fits = first || with_it <= most_bytes;
            if fits {
                bytes = with_it;
            }
            fits
        };
        let count = self.packets.iter().take_while(fits).count();
        let rest = self.packets.split_off(count);
        let batch = std::mem::replace(&mut self.packets, rest);
        self.bytes -= bytes;
        if self.bytes <= self.limit_bytes {
            self.burst = None;
        }
        self.metrics.unqueued(bytes);
        self.metrics.sent(batch.len(), bytes - batch.len() * PACKET_BYTES);
        batch
    }
}

fn cost(packet: &Outgoing) -> usize {
    packet.size_bytes() + PACKET_BYTES
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.metrics.unqueued(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Outbox {
        fn empty(&mut self) -> usize {
            std::iter::from_fn(|| Some(self.take_bound().len()).filter(|taken| *taken > 0)).sum()
        }
    }

    fn packet(bytes: usize) -> Outgoing {
        Outgoing::Text("4".repeat(bytes).into())
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_rest_stays() {
        let mut outbox = Outbox::new(2 * (PACKET_BYTES + 10), Arc::default());
        assert_eq!(outbox.push(packet(10)), Ok(()));
        assert_eq!(outbox.push(packet(10)), Ok(()));
        assert_eq!(outbox.push(packet(1)), Err(Full));
        assert_eq!(outbox.empty(), 2);
        assert_eq!(outbox.push(packet(1_000_000)), Ok(()), "one packet always fits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_may_wait_for_a_moment_and_no_longer() {
        let limit = 4 * (PACKET_BYTES + 10);
        let mut outbox = Outbox::new(limit, Arc::default());
        for _ in 0..4 * BURST {
            assert_eq!(outbox.push_shared(packet(10)), Ok(()));
        }
        assert_eq!(outbox.push_shared(packet(10)), Err(Full), "however short it is");
        assert_eq!(outbox.take_bound().len(), 4, "no transport is handed more");
        assert_eq!(outbox.empty(), 4 * BURST - 4);
        for _ in 0..5 {
            assert_eq!(outbox.push_shared(packet(10)), Ok(()));
        }
        (0..4).for_each(|_| assert_eq!(outbox.push(packet(10)), Ok(()), "an answer is not what is too much"));
        assert_eq!(outbox.push(packet(10)), Err(Full), "answers alone are");
        tokio::time::advance(PATIENCE).await;
        assert_eq!(outbox.push_shared(packet(10)), Err(Full), "however small it is");
        outbox.empty();
        (0..4).for_each(|_| assert_eq!(outbox.push(packet(10)), Ok(())));
        assert_eq!(outbox.push(packet(10)), Err(Full), "nobody else is sent it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_is_given_its_time_again() {
        let mut outbox = Outbox::new(2 * BATCH_BYTES, Arc::default());
        for _ in 0..10 {
            (0..30).for_each(|_| assert_eq!(outbox.push_shared(packet(10_000)), Ok(())));
            tokio::time::advance(PATIENCE / 2).await;
            while !outbox.is_empty() {
                outbox.take_batch();
            }
        }
    }

    #[test]
    fn a_batch_is_bounded_and_in_order() {
        let mut outbox = Outbox::new(1 << 20, Arc::default());
        for _ in 0..100 {
            assert_eq!(outbox.push(packet(1_000)), Ok(()));
        }
        let first = outbox.take_batch();
        assert_eq!(first.len(), BATCH_BYTES / (1_000 + PACKET_BYTES));
        assert_eq!(first.len() + outbox.take_batch().len(), 100);
        assert!(outbox.is_empty());
        assert_eq!(outbox.metrics.snapshot().queued_bytes, 0);
    }
}
