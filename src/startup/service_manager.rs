//! What the service manager is told: systemd's notify protocol (`sd_notify(3)`), one datagram for each message.
//!
//! Without `NOTIFY_SOCKET` nothing is sent. Sending never waits: a manager that does not read loses messages, and
//! the loss of the one that matters, `READY=1`, is logged.
//!
//! The watchdog says that the main executor turns. It deliberately says nothing of the disk: a sync that hangs for
//! a minute ends readiness (`/readyz`), and killing the process would not end the sync.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use tokio::time::MissedTickBehavior;

/// The way to the service manager, if there is one.
pub(super) struct ServiceManager {
    address: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says. What it says wrongly is logged, and nobody is told anything then.
    pub(super) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { address: None, watchdog: None };
        };
        match open(&name) {
            Ok(address) => Self { address: Some(address), watchdog: watchdog() },
            Err(error) => {
                let name = name.display();
                tracing::error!(%error, "the service manager cannot be told anything: NOTIFY_SOCKET={name}");
                Self { address: None, watchdog: None }
            }
        }
    }

    /// Says that the service serves, and from now on that it is alive.
    pub(super) fn ready(&self, status: &str) {
        if let Err(error) = self.send(&format!("READY=1\nSTATUS={status}")) {
            tracing::error!(%error, "the service manager was not told that the service is ready");
        }
        if let (Some(patience), Ok(watched)) = (self.watchdog, self.again()) {
            actix::spawn(watched.keep_saying_alive(patience));
        }
    }

    /// Says that the service stops.
    pub(super) fn stopping(&self) {
        if let Err(error) = self.send("STOPPING=1") {
            tracing::debug!(%error, "the service manager was not told that the service stops");
        }
    }

    async fn keep_saying_alive(self, patience: Duration) {
        // Twice as often as is needed, as systemd advises.
        let mut turns = tokio::time::interval(patience / 2);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            if let Err(error) = self.send("WATCHDOG=1") {
                tracing::warn!(%error, "the service manager was not told that the service is alive");
            }
        }
    }

    fn again(&self) -> io::Result<Self> {
        let again =
            |(socket, address): &(UnixDatagram, SocketAddr)| Ok((socket.try_clone()?, address.clone()));
        let address: io::Result<_> = self.address.as_ref().map(again).transpose();
        Ok(Self { address: address?, watchdog: self.watchdog })
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.address else { return Ok(()) };
        socket.send_to_addr(message.as_bytes(), address).map(|_| ())
    }
}

/// A socket, and the address that a name of the environment means: a path, or `@` and an abstract name.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        Some((b'/', _)) => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("neither a path nor an abstract name, which begins with @")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// How long the manager waits for a sign of life of this process, if it does.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_meant = env::var_os("WATCHDOG_PID")
        .is_none_or(|_| number("WATCHDOG_PID") == Some(u64::from(std::process::id())));
    number("WATCHDOG_USEC").filter(|&wait| is_meant && wait > 0).map(Duration::from_micros)
}
