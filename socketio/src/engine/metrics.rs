//! Counters for operators: connections, packets, bytes, what waits, and why connections ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::CloseReason;

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// HTTP long-polling.
    Polling,
    /// A websocket.
    WebSocket,
}

/// Counters of one engine, shared by all its connections.
#[derive(Debug, Default)]
pub struct EngineMetrics {
    polling: AtomicUsize,
    websocket: AtomicUsize,
    /// A counter of its own: the sum of open and ended connections drops by one while a connection ends.
    opened: AtomicU64,
    upgrades: AtomicU64,
    packets_received: AtomicU64,
    packets_sent: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    queued_bytes: AtomicUsize,
    ended: [AtomicU64; CloseReason::ALL.len()],
    held: AtomicUsize,
    refused: AtomicU64,
}

/// The counters at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineCounts {
    /// Connections over polling now.
    pub polling: usize,
    /// Connections over a websocket now.
    pub websocket: usize,
    /// Connections opened since the start.
    pub opened: u64,
    /// Completed upgrades.
    pub upgrades: u64,
    /// Packets from clients.
    pub packets_received: u64,
    /// Packets to clients.
    pub packets_sent: u64,
    /// Bytes of packets from clients.
    pub bytes_received: u64,
    /// Bytes of packets to clients.
    pub bytes_sent: u64,
    /// Bytes that wait for clients.
    pub queued_bytes: usize,
    /// Connections that ended, by reason.
    pub ended: Vec<(CloseReason, u64)>,
    /// Connections held now without an answer, because there is no room for them.
    pub held: usize,
    /// Connections refused because there are too many.
    pub refused: u64,
}

impl EngineMetrics {
    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> EngineCounts {
        let ended = CloseReason::ALL.iter().zip(&self.ended);
        EngineCounts {
            polling: self.polling.load(Relaxed),
            websocket: self.websocket.load(Relaxed),
            opened: self.opened.load(Relaxed),
            upgrades: self.upgrades.load(Relaxed),
            packets_received: self.packets_received.load(Relaxed),
            packets_sent: self.packets_sent.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            queued_bytes: self.queued_bytes.load(Relaxed),
            ended: ended.map(|(reason, count)| (*reason, count.load(Relaxed))).collect(),
            held: self.held.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    pub(super) fn opened(&self, transport: Transport) {
        self.open(transport).fetch_add(1, Relaxed);
        self.opened.fetch_add(1, Relaxed);
    }

    pub(super) fn ended(&self, transport: Transport, reason: CloseReason) {
        self.open(transport).fetch_sub(1, Relaxed);
        let index = CloseReason::ALL.iter().position(|known| *known == reason);
        index.and_then(|index| self.ended.get(index)).map(|count| count.fetch_add(1, Relaxed));
    }

    pub(super) fn upgraded(&self) {
        self.polling.fetch_sub(1, Relaxed);
        self.websocket.fetch_add(1, Relaxed);
        self.upgrades.fetch_add(1, Relaxed);
    }

    pub(super) fn held(&self) {
        self.held.fetch_add(1, Relaxed);
    }

    pub(super) fn released(&self) {
        self.held.fetch_sub(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.packets_received.fetch_add(1, Relaxed);
        self.bytes_received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn sent(&self, packets: usize, bytes: usize) {
        self.packets_sent.fetch_add(packets as u64, Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn queued(&self, bytes: usize) {
        self.queued_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn unqueued(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Relaxed);
    }

    fn open(&self, transport: Transport) -> &AtomicUsize {
        match transport {
            Transport::Polling => &self.polling,
            Transport::WebSocket => &self.websocket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_as_opened_once() {
        let metrics = EngineMetrics::default();
        metrics.opened(Transport::Polling);
        metrics.opened(Transport::WebSocket);
        metrics.upgraded();
        metrics.ended(Transport::WebSocket, CloseReason::ALL[0]);
        let now = metrics.snapshot();
        assert_eq!((now.opened, now.polling, now.websocket), (2, 0, 1));
        // A scrape while a connection ends sees it gone and not yet counted as ended.
        metrics.websocket.fetch_sub(1, Relaxed);
        assert_eq!(metrics.snapshot().opened, 2);
    }
}
