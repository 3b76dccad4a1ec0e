//! Why a call of the database gave no answer, and so what may be done about it.

use std::error::Error;

use tokio_postgres::error::{DbError, SqlState};

/// The error that `check_history` raises.
const OTHER_HISTORY: &str = "AMQ01";

/// The error that `check_lease` raises.
const LEASE_LOST: &str = "AMQ04";

/// A call without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The connection broke, or nothing came in time. The call may have been carried out.
    #[error("{0}")]
    Broken(String),
    /// It was not carried out; it may be if it is made again.
    #[error("{0}")]
    Postponed(String),
    /// It was not carried out: the log lacks what this node knows to be in it.
    #[error("this is not the log that it was: {0}")]
    OtherHistory(String),
    /// It was not carried out, because the session is not ours alone: a pooler gives each transaction another.
    #[error("a pooler shares this connection with others: {0}")]
    SharedSession(String),
    /// It was not carried out: it is guarded by a lease that its caller does not hold any more.
    #[error("another node may have taken over: {0}")]
    LeaseLost(String),
    /// It was not carried out, and would not be again.
    #[error("{0}")]
    Refused(String),
}

impl CallFailure {
    /// What a call fails with that nobody answered in time.
    #[must_use]
    pub fn silent() -> Self {
        Self::Broken("the database does not answer".to_owned())
    }
}

impl From<tokio_postgres::Error> for CallFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(answer) => Self::from_answer(answer),
            None => {
                let reasons = std::iter::successors(error.source(), |&reason| reason.source());
                let texts = reasons.map(|reason| format!(": {reason}"));
                Self::Broken(format!("{error}{}", texts.collect::<String>()))
            }
        }
    }
}

impl CallFailure {
    fn from_answer(answer: &DbError) -> Self {
        let code = answer.code();
        let text = format!("{} ({})", answer.message(), code.code());
        let is_not_now = [
            &SqlState::LOCK_NOT_AVAILABLE,
            &SqlState::QUERY_CANCELED,
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::T_R_DEADLOCK_DETECTED,
        ];
        match code.code() {
            OTHER_HISTORY => Self::OtherHistory(answer.message().to_owned()),
            _ if [&SqlState::INVALID_SQL_STATEMENT_NAME, &SqlState::DUPLICATE_PSTATEMENT].contains(&code) => {
                Self::SharedSession(text)
            }
            LEASE_LOST => Self::LeaseLost(answer.message().to_owned()),
            _ if is_not_now.contains(&code) => Self::Postponed(text),
            // Resources that are used up: connections, memory, the disk.
            class if class.starts_with("53") => Self::Postponed(text),
            // The connection, the server that stops or starts, one that has become a standby.
            class
                if class.starts_with("08")
                    || class.starts_with("57P")
                    || *code == SqlState::READ_ONLY_SQL_TRANSACTION =>
            {
                Self::Broken(text)
            }
            _ => Self::Refused(text),
        }
    }
}
