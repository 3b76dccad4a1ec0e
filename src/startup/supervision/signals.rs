//! The signals that the process handles. SIGTERM and SIGINT stop it. Others that people send to services are logged and
//! ignored: by default they would end the process without a drain.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that stop the process.
pub(in crate::startup) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes over both signals: from now on they no longer end the process directly.
    pub(in crate::startup) fn listen() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    /// Waits for one of them.
    pub(in crate::startup) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Handles the signals that have no meaning here. SIGHUP also comes from a terminal that closes, and from tools that
/// expect a service to reload its settings, which this one reads only when it starts.
pub(in crate::startup) fn ignore_others() -> std::io::Result<()> {
    let others = [
        ("SIGHUP", SignalKind::hangup()),
        ("SIGUSR1", SignalKind::user_defined1()),
        ("SIGUSR2", SignalKind::user_defined2()),
    ];
    for (name, kind) in others {
        let mut sent = signal(kind)?;
        actix::spawn(async move {
            while sent.recv().await.is_some() {
                tracing::info!(
                    "{name} has no effect: settings are read only at the start; SIGTERM stops the service"
                );
            }
        });
    }
    Ok(())
}
