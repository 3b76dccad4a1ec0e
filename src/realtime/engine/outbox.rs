//! What waits for a client: packets in order, bounded in bytes.

use std::{collections::VecDeque, sync::Arc};

use super::{Metrics, Outgoing};

/// What a packet costs beside its bytes: a place in the queue.
const PACKET_BYTES: usize = 64;

/// How much is handed to a websocket at once.
const BATCH_BYTES: usize = 64 * 1024;

/// The outbox of one connection.
pub struct Outbox {
    packets: VecDeque<Outgoing>,
    bytes: usize,
    limit_bytes: usize,
    metrics: Arc<Metrics>,
}

/// The outbox is full: the client reads too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(limit_bytes: usize, metrics: Arc<Metrics>) -> Self {
        Self { packets: VecDeque::new(), bytes: 0, limit_bytes, metrics }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Adds a packet at the end.
    ///
    /// # Errors
    /// [`Full`]; the packet is not in it then.
    pub fn push(&mut self, packet: Outgoing) -> Result<(), Full> {
        let bytes = packet.size_bytes() + PACKET_BYTES;
        // One packet always fits, however large it is.
        if !self.is_empty() && self.bytes + bytes > self.limit_bytes {
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
