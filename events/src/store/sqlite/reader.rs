//! The threads that read the log, each with a connection of its own.

use std::{io, path::Path};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{OpenError, schema};
use crate::store::{Pending, ReadError};

/// How many threads read.
const THREADS: usize = 2;

/// How many reads wait at the most; one more is answered [`ReadError::Overloaded`].
const QUEUE: usize = 4_096;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the threads. They end when the last clone of it is gone.
#[derive(Clone)]
pub(super) struct Readers(Sender<Job>);

impl Readers {
    pub(super) fn start(path: &Path) -> Result<Self, OpenError> {
        let (sender, jobs) = bounded(QUEUE);
        for number in 0..THREADS {
            spawn(number, schema::open_reader(path)?, jobs.clone())?;
        }
        Ok(Self(sender))
    }

    /// Runs a query on one of the threads.
    pub(super) fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Pending<Result<T, ReadError>> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            // Whoever asked may have gone: the answer is dropped then.
            drop(reply.send(query(conn)));
        });
        match self.0.try_send(job) {
            Ok(()) => Box::pin(async { answer.await.unwrap_or_else(|_gone| Err(closed())) }),
            Err(TrySendError::Full(_)) => Box::pin(std::future::ready(Err(ReadError::Overloaded))),
            Err(TrySendError::Disconnected(_)) => Box::pin(std::future::ready(Err(closed()))),
        }
    }
}

fn spawn(number: usize, conn: Connection, jobs: Receiver<Job>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(format!("store-reader-{number}"));
    thread.spawn(move || jobs.into_iter().for_each(|job| job(&conn)))?;
    Ok(())
}

fn closed() -> ReadError {
    ReadError::Unavailable("the store is closed".to_owned())
}
