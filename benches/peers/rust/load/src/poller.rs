//! Waits until sockets are ready, or a moment has come.

use std::{
    io,
    net::TcpStream,
    num::NonZeroU64,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    io::Errno,
};

/// How many sockets one call reports.
const READY_AT_ONCE: usize = 1_024;

/// A set of sockets, each with a number.
pub struct SocketPoller {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
}

impl SocketPoller {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // The kernel may otherwise wake a thread 50 microseconds late.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            ready: Vec::with_capacity(READY_AT_ONCE),
        })
    }

    /// Adds a socket. Each change of it is reported once.
    pub fn add(&self, stream: &TcpStream, number: usize) -> io::Result<()> {
        let events = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, stream, epoll::EventData::new_u64(number as u64), events)?)
    }

    /// Waits, at most for so long. Returns how many sockets are ready.
    pub fn wait(&mut self, limit: Duration) -> io::Result<usize> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => Ok(self.ready.len()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until then at the latest. Returns how many sockets are ready.
    pub fn wait_until(&mut self, moment: Instant) -> io::Result<usize> {
        self.wait(moment.saturating_duration_since(Instant::now()))
    }

    /// The number of one that is ready.
    pub fn ready(&self, place: usize) -> Option<usize> {
        let event = self.ready.get(place)?;
        usize::try_from(event.data.u64()).ok()
    }
}
