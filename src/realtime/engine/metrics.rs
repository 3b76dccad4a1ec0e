//! What operators count: connections, packets, bytes, what waits, and why connections ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::CloseReason;

/// How a client is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// A websocket.
    WebSocket,
}

/// Counters of one engine, shared by all its connections.
#[derive(Debug, Default)]
pub struct Metrics {
    polling: AtomicUsize,
    websocket: AtomicUsize,
    /// Its own: the sum of those that are open and those that ended goes back by one while one ends.
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

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Connections over polling now.
    pub polling: usize,
    /// Connections over a websocket now.
    pub websocket: usize,
    /// Connections that were opened since the start.
    pub opened: u64,
    /// Upgrades that were completed.
    pub upgrades: u64,
    /// Packets from clients.
    pub packets_received: u64,
    /// Packets to clients.
    pub packets_sent: u64,
    /// Bytes of packets from clients.
    pub bytes_received: u64,
    /// Bytes of packets to clients.
    pub bytes_sent: u64,
    /// What waits for clients, in bytes.
    pub queued_bytes: usize,
    /// Connections that ended, by reason.
    pub ended: Vec<(CloseReason, u64)>,
    /// Connections that are kept without an answer now, because there is no room for them.
    pub held: usize,
    /// Connections that were refused because there are too many.
    pub refused: u64,
}

impl Metrics {
    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let ended = CloseReason::ALL.iter().zip(&self.ended);
        Snapshot {
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
        let place = CloseReason::ALL.iter().position(|known| *known == reason);
        place.and_then(|place| self.ended.get(place)).map(|count| count.fetch_add(1, Relaxed));
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
    fn a_connection_is_opened_once_whatever_becomes_of_it() {
        let metrics = Metrics::default();
        metrics.opened(Transport::Polling);
        metrics.opened(Transport::WebSocket);
        metrics.upgraded();
        metrics.ended(Transport::WebSocket, CloseReason::ALL[0]);
        let now = metrics.snapshot();
        assert_eq!((now.opened, now.polling, now.websocket), (2, 0, 1));
        // As a scrape sees it that comes while a connection ends: gone, and not counted as ended yet.
        metrics.websocket.fetch_sub(1, Relaxed);
        assert_eq!(metrics.snapshot().opened, 2);
    }
}
