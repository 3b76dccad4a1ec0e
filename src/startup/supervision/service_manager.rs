//! Notifications to the service manager: systemd's notify protocol (`sd_notify(3)`), one datagram per message.
//!
//! Without `NOTIFY_SOCKET` nothing is sent. Sending never waits: a manager that does not read loses messages, and
//! the loss of the one that matters, `READY=1`, is logged.
//!
//! The watchdog shows that the main executor runs. It deliberately does not cover the disk: a sync that hangs for a
//! minute ends readiness (`/readyz`), and killing the process would not end the sync.

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

/// How long a stop may take after the drain, with some reserve.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// The connection to the service manager, if there is one.
pub(in crate::startup) struct ServiceManager {
    address: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads the environment. If its value is invalid, that is logged and nothing is sent.
    pub(in crate::startup) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self { address: None, watchdog: None };
        };
        match open(&name) {
            Ok(address) => Self { address: Some(address), watchdog: watchdog() },
            Err(error) => {
                let name = name.display();
                tracing::error!(%error, "the service manager cannot be notified: NOTIFY_SOCKET={name}");
                Self { address: None, watchdog: None }
            }
        }
    }

    /// Reports that the service is ready, and from now on that it is alive.
    pub(in crate::startup) fn ready(&self, status: &str) {
        if let Err(error) = self.send(&format!("READY=1\nSTATUS={status}")) {
            tracing::error!(%error, "the service manager was not notified that the service is ready");
        }
        if let (Some(timeout), Ok(notifier)) = (self.watchdog, self.duplicate()) {
            actix::spawn(notifier.report_alive(timeout));
        }
    }

    /// Reports that the service is stopping, and how long that may take if it drains first: longer than the manager expects,
    /// perhaps.
    pub(in crate::startup) fn stopping(&self, drain: Duration) {
        let mut message = "STOPPING=1".to_owned();
        if !drain.is_zero() {
            message += &format!("\nEXTEND_TIMEOUT_USEC={}", (drain + STOP_TIMEOUT).as_micros());
        }
        if let Err(error) = self.send(&message) {
            tracing::debug!(%error, "the service manager was not notified that the service stops");
        }
    }

    async fn report_alive(self, timeout: Duration) {
        // Twice as often as required, as systemd advises.
        let mut ticks = tokio::time::interval(timeout / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.send("WATCHDOG=1") {
                tracing::warn!(%error, "the service manager was not notified that the service is alive");
            }
        }
    }

    fn duplicate(&self) -> io::Result<Self> {
        let duplicate =
            |(socket, address): &(UnixDatagram, SocketAddr)| Ok((socket.try_clone()?, address.clone()));
        let address: io::Result<_> = self.address.as_ref().map(duplicate).transpose();
        Ok(Self { address: address?, watchdog: self.watchdog })
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Some((socket, address)) = &self.address else { return Ok(()) };
        socket.send_to_addr(message.as_bytes(), address).map(|_| ())
    }
}

/// A socket, and the address that the variable names: a path, or `@` followed by an abstract name.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        Some((b'/', _)) => SocketAddr::from_pathname(name)?,
        _ => {
            return Err(io::Error::other(
                "neither an absolute path nor an abstract name, which starts with @",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// How long the manager waits for a sign of life from this process, if it does.
fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_for_us = env::var_os("WATCHDOG_PID")
        .is_none_or(|_| number("WATCHDOG_PID") == Some(u64::from(std::process::id())));
    number("WATCHDOG_USEC").filter(|&wait| is_for_us && wait > 0).map(Duration::from_micros)
}
