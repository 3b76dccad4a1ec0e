//! What waits for a client: packets in order, limited in bytes.
//!
//! Packets that many clients get may exceed the limit for a moment: one commit of a log can hold more, and a client has
//! no time to read in between. [`BURST`] times the limit may wait for some seconds. Waiting packets of a burst are
//! shared by all connections, but a transport copies what it is handed, so no transport gets more than the limit at once.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{EngineMetrics, OutgoingPacket};

/// How many times the limit may wait while a client reads a burst.
const BURST: usize = 8;

/// How long a client may take until no more than the limit waits.
const BURST_TIMEOUT: Duration = Duration::from_secs(5);

/// What a packet costs in addition to its bytes: an entry in the queue.
const PACKET_BYTES: usize = 64;

/// How much a websocket gets at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The queue of one connection.
pub(super) struct SendQueue {
    packets: VecDeque<OutgoingPacket>,
    bytes: usize,
    limit_bytes: usize,
    /// The current burst. Boxed: it is rare, and every connection has a field for it.
    burst: Option<Box<SendBurst>>,
    metrics: Arc<EngineMetrics>,
}

/// More than the limit waits.
#[derive(Debug, Clone, Copy)]
struct SendBurst {
    since: Instant,
    /// What was added since then for this client alone.
    own_bytes: usize,
}

/// The queue is full: the client reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct QueueFull;

impl SendQueue {
    pub(super) fn new(limit_bytes: usize, metrics: Arc<EngineMetrics>) -> Self {
        Self { packets: VecDeque::new(), bytes: 0, limit_bytes, burst: None, metrics }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Adds a packet that other clients get too. It may start a burst.
    pub(super) fn push_shared(&mut self, packet: OutgoingPacket) -> Result<(), QueueFull> {
        let bytes = cost(&packet);
        if self.bytes + bytes > self.limit_bytes {
            self.burst.get_or_insert_with(|| Box::new(SendBurst { since: Instant::now(), own_bytes: 0 }));
        }
        let limit = match &self.burst {
            Some(burst) if burst.since.elapsed() < BURST_TIMEOUT => self.limit_bytes.saturating_mul(BURST),
            _ => self.limit_bytes,
        };
        self.add(packet, bytes, self.bytes + bytes <= limit)
    }

    /// Adds a packet for this client alone.
    pub(super) fn push(&mut self, packet: OutgoingPacket) -> Result<(), QueueFull> {
        let bytes = cost(&packet);
        let limit = self.limit_bytes;
        let fits = match &mut self.burst {
            Some(burst) => {
                burst.own_bytes += bytes;
                burst.own_bytes <= limit && burst.since.elapsed() < BURST_TIMEOUT
            }
            None => self.bytes + bytes <= limit,
        };
        self.add(packet, bytes, fits)
    }

    /// An empty queue takes any packet, however large.
    fn add(&mut self, packet: OutgoingPacket, bytes: usize, fits: bool) -> Result<(), QueueFull> {
        if !fits && !self.is_empty() {
            return Err(QueueFull);
        }
        self.bytes += bytes;
        self.metrics.queued(bytes);
        self.packets.push_back(packet);
        Ok(())
    }

    /// Takes one batch for a websocket: at least one packet if any waits.
    pub(super) fn take_batch(&mut self) -> VecDeque<OutgoingPacket> {
        self.take(BATCH_BYTES)
    }

    /// Takes as much as the limit: everything unless there is a burst, and at least one packet if any waits.
    pub(super) fn take_limit(&mut self) -> VecDeque<OutgoingPacket> {
        self.take(self.limit_bytes)
    }

    fn take(&mut self, max_bytes: usize) -> VecDeque<OutgoingPacket> {
        let mut bytes = 0;
        let fits = |packet: &&OutgoingPacket| {
            let first = bytes == 0;
            let with_it = bytes + cost(packet);
            let fits = first || with_it <= max_bytes;
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

fn cost(packet: &OutgoingPacket) -> usize {
    packet.size_bytes() + PACKET_BYTES
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        self.metrics.unqueued(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl SendQueue {
        fn empty(&mut self) -> usize {
            std::iter::from_fn(|| Some(self.take_limit().len()).filter(|taken| *taken > 0)).sum()
        }
    }

    fn packet(bytes: usize) -> OutgoingPacket {
        OutgoingPacket::Text("4".repeat(bytes).into())
    }

    #[test]
    fn a_packet_that_does_not_fit_is_refused_and_the_others_stay() {
        let mut queue = SendQueue::new(2 * (PACKET_BYTES + 10), Arc::default());
        assert_eq!(queue.push(packet(10)), Ok(()));
        assert_eq!(queue.push(packet(10)), Ok(()));
        assert_eq!(queue.push(packet(1)), Err(QueueFull));
        assert_eq!(queue.empty(), 2);
        assert_eq!(queue.push(packet(1_000_000)), Ok(()), "an empty queue takes any packet");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_may_wait_for_some_seconds_and_no_longer() {
        let limit = 4 * (PACKET_BYTES + 10);
        let mut queue = SendQueue::new(limit, Arc::default());
        for _ in 0..4 * BURST {
            assert_eq!(queue.push_shared(packet(10)), Ok(()));
        }
        assert_eq!(queue.push_shared(packet(10)), Err(QueueFull), "however short it is");
        assert_eq!(queue.take_limit().len(), 4, "no transport gets more at once");
        assert_eq!(queue.empty(), 4 * BURST - 4);
        for _ in 0..5 {
            assert_eq!(queue.push_shared(packet(10)), Ok(()));
        }
        (0..4).for_each(|_| assert_eq!(queue.push(packet(10)), Ok(()), "an answer fits beside a burst"));
        assert_eq!(queue.push(packet(10)), Err(QueueFull), "answers alone exceed the limit");
        tokio::time::advance(BURST_TIMEOUT).await;
        assert_eq!(queue.push_shared(packet(10)), Err(QueueFull), "however small it is");
        queue.empty();
        (0..4).for_each(|_| assert_eq!(queue.push(packet(10)), Ok(())));
        assert_eq!(queue.push(packet(10)), Err(QueueFull), "it is for this client alone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_gets_the_full_time_again() {
        let mut queue = SendQueue::new(2 * BATCH_BYTES, Arc::default());
        for _ in 0..10 {
            (0..30).for_each(|_| assert_eq!(queue.push_shared(packet(10_000)), Ok(())));
            tokio::time::advance(BURST_TIMEOUT / 2).await;
            while !queue.is_empty() {
                queue.take_batch();
            }
        }
    }

    #[test]
    fn a_batch_is_bounded_and_in_order() {
        let mut queue = SendQueue::new(1 << 20, Arc::default());
        for _ in 0..100 {
            assert_eq!(queue.push(packet(1_000)), Ok(()));
        }
        let first = queue.take_batch();
        assert_eq!(first.len(), BATCH_BYTES / (1_000 + PACKET_BYTES));
        assert_eq!(first.len() + queue.take_batch().len(), 100);
        assert!(queue.is_empty());
        assert_eq!(queue.metrics.snapshot().queued_bytes, 0);
    }
}
