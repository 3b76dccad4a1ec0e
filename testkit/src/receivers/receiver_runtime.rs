//! The thread that asynchronous receivers run on, so that they answer while a test blocks.

use std::{
    future::{Future, pending},
    thread,
};

use tokio::runtime::{Builder, Handle};

/// A thread that runs what is spawned on it. It ends with the test binary.
#[derive(Clone)]
pub struct ReceiverRuntime(Handle);

impl Default for ReceiverRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiverRuntime {
    /// Starts the thread.
    #[must_use]
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        thread::spawn(move || runtime.block_on(pending::<()>()));
        Self(handle)
    }

    /// Runs something there to its end.
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.block_on(work)
    }
}
