//! A TCP connection that never blocks once it is in use.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

/// How much is read at once.
const SCRATCH_BYTES: usize = 256 * 1_024;
/// How long a connection waits for anything while it still blocks.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);

/// The buffer that all connections of a thread read into.
pub fn scratch() -> Vec<u8> {
    vec![0; SCRATCH_BYTES]
}

/// A connection.
pub struct Connection {
    stream: TcpStream,
    /// The start of something whose end has not arrived.
    partial: Vec<u8>,
    /// What the kernel did not take.
    unsent: Vec<u8>,
}

impl Connection {
    /// Connects, from one of the addresses of loopback because the ports of one are soon used up. It blocks until
    /// [`Connection::set_nonblocking`].
    pub fn open(address: SocketAddr, source: usize) -> io::Result<Self> {
        let host = Ipv4Addr::new(127, 0, 0, u8::try_from(source % 8).unwrap_or(0) + 1);
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrV4::new(host, 0))?;
        connect(&socket, &address)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SETUP_TIMEOUT))?;
        Ok(Self { stream, partial: Vec::new(), unsent: Vec::new() })
    }

    /// From now on nothing waits.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// The stream, to wait for it.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes, or keeps what the kernel does not take until [`Connection::flush`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.unsent.is_empty() { write_some(&self.stream, bytes)? } else { 0 };
        self.unsent.extend(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    /// Sends what was kept.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let sent = write_some(&self.stream, &self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    /// Reads all that is there. `take` gets what is unread and says how much of it is used; the rest comes again together
    /// with what follows. A connection that still blocks reads once.
    pub fn receive(
        &mut self,
        scratch: &mut [u8],
        mut take: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        loop {
            let kept = self.partial.len();
            let (start, space) = scratch.split_at_mut_checked(kept).ok_or(ErrorKind::OutOfMemory)?;
            start.copy_from_slice(&self.partial);
            let room = space.len();
            let read = match (&self.stream).read(space) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.partial.clear();
            let unread = scratch.get(..kept + read).unwrap_or_default();
            let used = take(unread)?;
            self.partial.extend(unread.get(used..).unwrap_or_default());
            if read < room {
                return Ok(());
            }
        }
    }
}

fn write_some(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
        result => result,
    }
}
