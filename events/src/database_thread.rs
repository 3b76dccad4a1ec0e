//! The thread on which a store talks to its database, with a runtime of its own.
//!
//! Whoever asks may run on any runtime, or on none: a store is opened and closed by code that is not asynchronous, and
//! arbiters of actors come and go. The thread ends with the last clone of its handle.

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct DatabaseThread {
    runtime: Handle,
    /// Dropped with the last clone, which ends the thread.
    _running: Arc<oneshot::Sender<()>>,
}

impl DatabaseThread {
    /// Starts the thread under a name.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread.spawn(move || {
            // It is never sent, only dropped.
            drop(runtime.block_on(ended));
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _running: Arc::new(running) })
    }

    /// Runs a task on the thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// Runs a task on the thread and waits for it, from a thread that may block. Nothing when it does not end in time.
    pub(crate) fn wait_for<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
        patience: Duration,
    ) -> Option<T> {
        let (done, result) = crossbeam_channel::bounded(1);
        let running = self.spawn(async move { drop(done.send(task.await)) });
        let result = result.recv_timeout(patience).ok();
        running.abort();
        result
    }
}
