//! What the writer is asked to do.

use tokio::sync::oneshot;

use crate::{
    NewEvent, StreamName, Version,
    store::{AppendError, AppendReceipt, ExpectedVersion},
};

/// The two ends of a job's answer.
pub(in crate::store::sqlite) type Reply<T> = oneshot::Sender<Result<T, AppendError>>;
pub(in crate::store::sqlite) type Answer<T> = oneshot::Receiver<Result<T, AppendError>>;

/// An append that waits.
pub(in crate::store::sqlite) struct AppendJob {
    pub(in crate::store::sqlite) stream: StreamName,
    pub(in crate::store::sqlite) expected: ExpectedVersion,
    pub(in crate::store::sqlite) events: Vec<NewEvent>,
    pub(in crate::store::sqlite) reply: Reply<AppendReceipt>,
}

/// Work for the writer.
pub(in crate::store::sqlite) enum WriterJob {
    Append(AppendJob),
    Remove(RemovalJob),
    Scrub(ScrubJob),
    /// A row of the index is not what was written. The answer comes when the index was rebuilt or could not be.
    MendIndex(Reply<()>),
    /// The writer ends after all earlier jobs.
    Close,
}

/// A step of a removal. Its answer is whether there is more to remove.
pub(in crate::store::sqlite) struct RemovalJob {
    pub(in crate::store::sqlite) stream: StreamName,
    /// The first version that stays; `None` removes the stream.
    pub(in crate::store::sqlite) before: Option<Version>,
    pub(in crate::store::sqlite) reply: Reply<bool>,
}

/// The numbers of pages whose free part is to be filled with zeros; empty if only the write-ahead log is to be truncated.
pub(in crate::store::sqlite) struct ScrubJob {
    pub(in crate::store::sqlite) pages: Vec<u32>,
    pub(in crate::store::sqlite) reply: Reply<()>,
}
