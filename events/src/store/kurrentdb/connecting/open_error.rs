//! Why a log in KurrentDB cannot be opened, and what is to be done about it.

use super::{cluster_address::KurrentAddressError, node_call_error::NodeCallError};
use crate::store::ReadError;

/// Why a log in KurrentDB could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum KurrentOpenError {
    /// The address is none.
    #[error("the address of the database: {0}")]
    Address(#[from] KurrentAddressError),
    /// The name of the log is none.
    #[error("`{0}` is no name for a log: 1 to 40 small letters, digits and `_`")]
    LogName(String),
    /// There is none.
    #[error("there is no log `{0}` in the database: the first start of a service makes it")]
    NoLog(String),
    /// An import or a migration into it was interrupted.
    #[error(
        "the log `{0}` is not complete: a migration into it was interrupted; run it again, or name another log"
    )]
    Unfinished(String),
    /// No node was reached, or it refused.
    #[error("the database: {0}")]
    Database(String),
    /// The log has something that this program did not write.
    #[error("the log: {0}")]
    Log(#[from] ReadError),
    /// The thread of the store could not be started.
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

impl From<NodeCallError> for KurrentOpenError {
    fn from(error: NodeCallError) -> Self {
        Self::Database(error.to_string())
    }
}
