//! Why a call of a node gave no answer, and so what may be done about it.

use std::error::Error;

use tonic::{Code, Status};

use crate::store::{AppendError, ReadError};

/// The header in which a server says what went wrong.
const EXCEPTION: &str = "exception";

/// What it says when the node is not the leader.
const NOT_LEADER: &str = "not-leader";

/// What it says when an operator has removed a stream for good.
const STREAM_DELETED: &str = "stream-deleted";

/// A call without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::store::kurrentdb) enum NodeCallError {
    /// The connection broke, or nothing came in time. The call may have been carried out.
    #[error("{0}")]
    Broken(String),
    /// It was not carried out; it may be if it is made again.
    #[error("{0}")]
    Postponed(String),
    /// It was not carried out: the node is not the leader, or the leader has changed.
    #[error("{0}")]
    NotLeader(String),
    /// It was not carried out: the log lacks what this node knows to be in it.
    #[error("this is not the log that it was: {0}")]
    OtherHistory(String),
    /// It was not carried out: the stream is at another revision.
    #[error("the stream has moved on")]
    Moved,
    /// It was not carried out: an operator has removed the stream for good.
    #[error("the stream was removed for good by an operator")]
    Tombstone,
    /// It was not carried out, and would not be again.
    #[error("{0}")]
    Refused(String),
}

impl NodeCallError {
    /// What a call fails with that nobody answered in time.
    pub(in crate::store::kurrentdb) fn silent() -> Self {
        Self::Broken("the database does not answer".to_owned())
    }

    /// Whether the same call may have another answer.
    pub(in crate::store::kurrentdb) fn is_passing(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Postponed(_) | Self::NotLeader(_))
    }
}

impl NodeCallError {
    /// Why an append was not answered. What a server says of its own faults leaves open whether it was carried out.
    pub(in crate::store::kurrentdb) fn of_write(status: Status) -> Self {
        let is_fault = matches!(
            status.code(),
            Code::Unknown | Code::Internal | Code::DataLoss | Code::ResourceExhausted
        );
        match Self::from(status) {
            Self::Refused(reason) if is_fault => Self::Broken(reason),
            error => error,
        }
    }
}

impl From<Status> for NodeCallError {
    fn from(status: Status) -> Self {
        let exception = status.metadata().get(EXCEPTION).and_then(|value| value.to_str().ok());
        let reasons = std::iter::successors(status.source(), |&reason| reason.source());
        let reasons: String = reasons.map(|reason| format!(": {reason}")).collect();
        let text = format!("{}{reasons} ({})", status.message(), status.code());
        match status.code() {
            _ if exception == Some(NOT_LEADER) || is_leaderless(status.message()) => Self::NotLeader(text),
            _ if exception == Some(STREAM_DELETED) => Self::Tombstone,
            // What the server did not send: the way to it failed.
            _ if status.source().is_some() => Self::Broken(text),
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => {
                Self::Broken(text)
            }
            Code::Unauthenticated => Self::Refused(format!("the user or the password is wrong: {text}")),
            Code::PermissionDenied => {
                Self::Refused(format!("the user may not do this, and has to be in `$admins`: {text}"))
            }
            _ => Self::Refused(text),
        }
    }
}

impl From<tonic::transport::Error> for NodeCallError {
    fn from(error: tonic::transport::Error) -> Self {
        let reasons = std::iter::successors(error.source(), |&reason| reason.source());
        let reasons: String = reasons.map(|reason| format!(": {reason}")).collect();
        Self::Postponed(format!("{error}{reasons}"))
    }
}

impl From<eventstore::Error> for NodeCallError {
    fn from(error: eventstore::Error) -> Self {
        use eventstore::Error;
        let text = error.to_string();
        match error {
            Error::WrongExpectedVersion { .. } => Self::Moved,
            Error::ResourceDeleted => Self::Tombstone,
            // Appending finds nothing missing: a node that is not the leader and knows none says so.
            Error::NotLeaderException(_) | Error::ResourceNotFound => Self::NotLeader(text),
            Error::ServerError(reason) if is_leaderless(&reason) => Self::NotLeader(reason),
            Error::ServerError(reason) => Self::Broken(reason),
            Error::DeadlineExceeded | Error::ConnectionClosed => Self::Broken(text),
            Error::GrpcConnectionError(reason) => Self::Postponed(reason.to_string()),
            Error::Grpc { code: Code::Aborted | Code::Cancelled, message } => Self::Broken(message),
            Error::AccessDenied => Self::Refused("the user may not do this".to_owned()),
            _ => Self::Refused(text),
        }
    }
}

/// What a server says that knows no leader: it has no header for that.
fn is_leaderless(message: &str) -> bool {
    message.contains("No leader info available")
}

impl From<NodeCallError> for ReadError {
    fn from(error: NodeCallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<NodeCallError> for AppendError {
    fn from(error: NodeCallError) -> Self {
        Self::Unavailable(error.to_string())
    }
}
