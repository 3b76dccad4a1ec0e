//! The signals that the process takes: SIGTERM and SIGINT stop it, and others that people send to services are
//! logged and do nothing, where by default they would end it without a drain.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What tells the process to stop.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on these two signals do not end the process by themselves.
    pub(super) fn listen() -> std::io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    /// Waits for one of them.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Takes the signals that mean nothing here. SIGHUP is what a closed terminal sends too, and tools that would have
/// a service read its settings again, which this one reads at its start alone.
pub(super) fn ignore_others() -> std::io::Result<()> {
    let others = [
        ("SIGHUP", SignalKind::hangup()),
        ("SIGUSR1", SignalKind::user_defined1()),
        ("SIGUSR2", SignalKind::user_defined2()),
    ];
    for (name, kind) in others {
        let mut sent = signal(kind)?;
        actix::spawn(async move {
            while sent.recv().await.is_some() {
                tracing::info!("{name} does nothing here: settings are read at the start, SIGTERM stops");
            }
        });
    }
    Ok(())
}
