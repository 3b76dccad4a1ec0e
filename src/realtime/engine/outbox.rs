//! What waits for a client: packets in order, bounded in bytes.
//!
//! What others are sent too may be more than the bound for a moment: one commit of the log can hold more than that,
//! and a client has no time to read in between. It may be [`BURST`] times as much for some seconds. That costs
//! little, since such packets are shared by all who are sent them.

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
    /// Since when a burst is over the bound.
    burst_since: Option<Instant>,
    metrics: Arc<Metrics>,
}

/// The outbox is full: the client reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(limit_bytes: usize, metrics: Arc<Metrics>) -> Self {
        Self { packets: VecDeque::new(), bytes: 0, limit_bytes, burst_since: None, metrics }
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
        if self.bytes + packet.size_bytes() + PACKET_BYTES > self.limit_bytes {
            self.burst_since.get_or_insert_with(Instant::now);
        }
        self.push(packet)
    }

    /// Adds a packet at the end.
    ///
    /// # Errors
    /// [`Full`]; the packet is not in it then.
    pub fn push(&mut self, packet: Outgoing) -> Result<(), Full> {
        let bytes = packet.size_bytes() + PACKET_BYTES;
        let is_burst = self.burst_since.is_some_and(|since| since.elapsed() < PATIENCE);
        let limit = if is_burst { self.limit_bytes.saturating_mul(BURST) } else { self.limit_bytes };
        // One packet always fits, however large it is.
        if !self.is_empty() && self.bytes + bytes > limit {
            return Err(Full);
        }
        self.bytes += bytes;
        self.metrics.queued(bytes);
        self.packets.push_back(packet);
        Ok(())
    }

    /// Takes everything.
    pub fn take_all(&mut self) -> VecDeque<Outgoing> {
        self.metrics.unqueued(self.bytes);
        self.metrics.sent(self.packets.len(), self.bytes - self.packets.len() * PACKET_BYTES);
        self.bytes = 0;
        self.burst_since = None;
        std::mem::take(&mut self.packets)
    }

    /// Takes what one batch holds, at least one packet when there is any.
    pub fn take_batch(&mut self) -> VecDeque<Outgoing> {
        let mut bytes = 0;
        let fits = |packet: &&Outgoing| {
            let first = bytes == 0;
            bytes += packet.size_bytes() + PACKET_BYTES;
            first || bytes <= BATCH_BYTES
        };
        let count = self.packets.iter().take_while(fits).count();
        if count == self.packets.len() {
            return self.take_all();
        }
        let rest = self.packets.split_off(count);
        let batch = std::mem::replace(&mut self.packets, rest);
        let bytes: usize = batch.iter().map(|packet| packet.size_bytes() + PACKET_BYTES).sum();
        self.bytes -= bytes;
        if self.bytes <= self.limit_bytes {
            self.burst_since = None;
        }
        self.metrics.unqueued(bytes);
        self.metrics.sent(batch.len(), bytes - batch.len() * PACKET_BYTES);
        batch
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.metrics.unqueued(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: usize) -> Outgoing {
        Outgoing::Text("4".repeat(bytes).into())
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_rest_stays() {
        let mut outbox = Outbox::new(2 * (PACKET_BYTES + 10), Arc::default());
        assert_eq!(outbox.push(packet(10)), Ok(()));
        assert_eq!(outbox.push(packet(10)), Ok(()));
        assert_eq!(outbox.push(packet(1)), Err(Full));
        assert_eq!(outbox.take_all().len(), 2);
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
        outbox.take_all();
        for _ in 0..5 {
            assert_eq!(outbox.push_shared(packet(10)), Ok(()));
        }
        assert_eq!(outbox.push(packet(10)), Ok(()), "an answer is not what is too much");
        tokio::time::advance(PATIENCE).await;
        assert_eq!(outbox.push_shared(packet(10)), Err(Full), "however small it is");
        outbox.take_all();
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
