//! The threads that read the log, each with a connection of its own.

use std::{fs::File, io, path::Path, sync::Arc};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::{
    ReadError, StoreFuture,
    sqlite::{
        OpenError,
        files::{connection, readable::FileReadability},
    },
};

/// How many threads read.
const THREADS: usize = 2;

/// How many reads wait at the most; one more is answered [`ReadError::Overloaded`].
const QUEUE: usize = 4_096;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// A handle to the threads. They end when its last clone is dropped.
#[derive(Clone)]
pub(in crate::store::sqlite) struct ReaderPool {
    jobs: Sender<Job>,
    reading: Arc<FileReadability>,
}

impl ReaderPool {
    /// `file` is the database's own; the threads keep it open as long as their connections.
    pub(in crate::store::sqlite) fn start(
        path: &Path,
        file: &Arc<File>,
        reading: &Arc<FileReadability>,
    ) -> Result<Self, OpenError> {
        let (sender, jobs) = bounded(QUEUE);
        for number in 0..THREADS {
            spawn(number, connection::open_reader(path)?, Arc::clone(file), jobs.clone())?;
        }
        Ok(Self { jobs: sender, reading: Arc::clone(reading) })
    }

    /// Runs a query. Before it reports that the file is damaged, it makes sure that the file can be read, and tries again.
    pub(in crate::store::sqlite) fn read<T: Send + 'static>(
        &self,
        query: impl Fn(&Connection) -> Result<T, ReadError> + Clone + Send + 'static,
    ) -> StoreFuture<Result<T, ReadError>> {
        let first = self.run(query.clone());
        let readers = self.clone();
        Box::pin(async move {
            match first.await {
                Err(error) if is_doubtful(&error) => readers.read_doubted(query, error).await,
                read => read,
            }
        })
    }

    async fn read_doubted<T: Send + 'static>(
        self,
        query: impl Fn(&Connection) -> Result<T, ReadError> + Send + 'static,
        error: ReadError,
    ) -> Result<T, ReadError> {
        let reading = Arc::clone(&self.reading);
        if let Some(unreadable) = self.run(move |_| Ok(reading.judge())).await? {
            return Err(ReadError::Unavailable(unreadable.to_string()));
        }
        if matches!(error, ReadError::Unavailable(_)) {
            return Err(error);
        }
        let read = self.run(query).await;
        if read.as_ref().is_err_and(is_doubtful) {
            self.reading.confirm_damage();
        }
        read
    }

    /// Runs a query on one of the threads.
    pub(in crate::store::sqlite) fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> StoreFuture<Result<T, ReadError>> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            // The caller may be gone: then the answer is dropped.
            drop(reply.send(query(conn)));
        });
        match self.jobs.try_send(job) {
            Ok(()) => Box::pin(async { answer.await.unwrap_or_else(|_gone| Err(closed())) }),
            Err(TrySendError::Full(_)) => Box::pin(std::future::ready(Err(ReadError::Overloaded))),
            Err(TrySendError::Disconnected(_)) => Box::pin(std::future::ready(Err(closed()))),
        }
    }
}

/// Whether the error may come from a file that could not be read. An error about an event does not: the event was read.
fn is_doubtful(error: &ReadError) -> bool {
    error.is_about_the_file() || matches!(error, ReadError::Unavailable(_))
}

fn spawn(number: usize, conn: Connection, file: Arc<File>, jobs: Receiver<Job>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(format!("store-reader-{number}"));
    thread.spawn(move || {
        jobs.into_iter().for_each(|job| job(&conn));
        // The file may be closed only after the connection.
        drop(conn);
        drop(file);
    })?;
    Ok(())
}

fn closed() -> ReadError {
    ReadError::Unavailable("the store is closed".to_owned())
}
