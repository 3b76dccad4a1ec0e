//! What waits for a client: packets in order, limited in bytes.
//!
//! Packets that many clients get may exceed the limit for a moment: one commit of a log can hold more, and a client has
//! no time to read in between. [`BURST`] times the limit may wait for some seconds. Waiting packets of a burst are
//! shared by all connections, but a poll copies what it is handed, so none gets more than the limit at once. A websocket
//! is written from the queue itself: what waits there is what the kernel has not taken.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};

use super::{EngineMetrics, OutgoingPacket};

/// How many times the limit may wait while a client reads a burst.
const BURST: usize = 8;

/// How long a client may take until no more than the limit waits.
const BURST_TIMEOUT: Duration = Duration::from_secs(5);

/// What a packet costs in addition to its bytes: an entry in the queue.
const PACKET_BYTES: usize = 64;

/// How many packets are written with one system call.
const WRITE_PACKETS: usize = 64;

/// How many entries an empty queue keeps room for, so that a single packet does not allocate.
const KEPT_PACKETS: usize = 4;

/// The queue of one connection.
pub(super) struct SendQueue {
    packets: VecDeque<OutgoingPacket>,
    /// How much of the first packet's frame is written.
    first_written: usize,
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
        Self { packets: VecDeque::new(), first_written: 0, bytes: 0, limit_bytes, burst: None, metrics }
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

    /// Adds what a websocket needs besides its packets, in any case: the heads of its start and its end.
    pub(super) fn push_control(&mut self, packet: OutgoingPacket) {
        let bytes = cost(&packet);
        self.bytes += bytes;
        self.metrics.queued(bytes);
        self.packets.push_back(packet);
    }

    /// Writes as much as the kernel takes. Returns whether that is everything.
    pub(super) fn write_to(&mut self, tcp: &TcpStream) -> io::Result<bool> {
        while !self.packets.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_PACKETS];
            let mut waiting = 0;
            for (number, (slice, packet)) in slices.iter_mut().zip(&self.packets).enumerate() {
                let written = if number == 0 { self.first_written } else { 0 };
                *slice = IoSlice::new(packet.frame().get(written..).unwrap_or_default());
                waiting += slice.len();
            }
            let slices = slices.get(..self.packets.len()).unwrap_or(&slices);
            match tcp.try_write_vectored(slices) {
                Ok(written) => {
                    self.written(written);
                    if written < waiting {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The kernel took so many bytes.
    fn written(&mut self, bytes: usize) {
        self.first_written += bytes;
        while let Some(first) = self.packets.front() {
            let frame = first.frame().len();
            if self.first_written < frame {
                break;
            }
            self.first_written -= frame;
            self.drop_first();
        }
        self.shrink();
    }

    /// Forgets what waits, except for a packet that is partly written.
    pub(super) fn forget(&mut self) {
        let kept = usize::from(self.first_written > 0);
        for packet in self.packets.drain(kept.min(self.packets.len())..) {
            let bytes = cost(&packet);
            self.bytes -= bytes;
            self.metrics.unqueued(bytes);
        }
    }

    fn drop_first(&mut self) {
        let Some(packet) = self.packets.pop_front() else { return };
        let bytes = cost(&packet);
        self.bytes -= bytes;
        self.metrics.unqueued(bytes);
        if packet.is_packet() {
            self.metrics.sent(1, packet.size_bytes());
        }
    }

    /// Ends a burst, and gives back the memory of an empty queue.
    fn shrink(&mut self) {
        if self.bytes <= self.limit_bytes {
            self.burst = None;
        }
        if self.packets.is_empty() && self.packets.capacity() > KEPT_PACKETS {
            self.packets = VecDeque::new();
        }
    }

    /// Takes as much as the limit for a poll: everything unless there is a burst, and at least one packet if any waits.
    pub(super) fn take_limit(&mut self) -> Vec<OutgoingPacket> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(packet) = self.packets.front() {
            bytes += cost(packet);
            if bytes > self.limit_bytes && !taken.is_empty() {
                break;
            }
            taken.push(packet.clone());
            self.drop_first();
        }
        self.shrink();
        taken
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
        OutgoingPacket::text(&"4".repeat(bytes))
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
        let mut queue = SendQueue::new(128 * 1024, Arc::default());
        for _ in 0..10 {
            (0..30).for_each(|_| assert_eq!(queue.push_shared(packet(10_000)), Ok(())));
            tokio::time::advance(BURST_TIMEOUT / 2).await;
            while !queue.is_empty() {
                queue.written(60_000.min(queue.bytes));
            }
        }
    }

    #[tokio::test]
    async fn a_websocket_gets_every_packet_in_order_however_much_the_kernel_takes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (client, _) = listener.accept().await.unwrap();
        let mut queue = SendQueue::new(1 << 24, Arc::default());
        let packets = (0..500).map(|number| OutgoingPacket::text(&format!("4{number}").repeat(5_000)));
        let sent: Vec<_> = packets.inspect(|packet| assert_eq!(queue.push(packet.clone()), Ok(()))).collect();
        let expected: Vec<u8> = sent.iter().flat_map(|packet| packet.frame().to_vec()).collect();
        assert!(matches!(queue.write_to(&tcp), Ok(false)), "more than a kernel takes");
        let writing = async {
            while !queue.write_to(&tcp).unwrap() {
                tcp.writable().await.unwrap();
            }
            drop(tcp);
        };
        let mut received: Vec<u8> = Vec::new();
        let reading = async {
            let mut bytes = vec![0; 70_000];
            loop {
                client.readable().await.unwrap();
                match client.try_read(&mut bytes) {
                    Ok(0) => break,
                    Ok(read) => received.extend(&bytes[..read]),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        };
        tokio::join!(writing, reading);
        assert!(received == expected);
        assert_eq!((queue.metrics.snapshot().queued_bytes, queue.metrics.snapshot().packets_sent), (0, 500));
    }

    #[test]
    fn an_end_keeps_no_more_than_the_packet_that_is_partly_written() {
        let mut queue = SendQueue::new(1 << 20, Arc::default());
        (0..3).for_each(|_| assert_eq!(queue.push(packet(10)), Ok(())));
        queue.written(13);
        queue.forget();
        assert_eq!((queue.packets.len(), queue.first_written), (1, 1));
        queue.written(11);
        queue.forget();
        assert!(queue.is_empty());
        assert_eq!(queue.metrics.snapshot().queued_bytes, 0);
    }
}
