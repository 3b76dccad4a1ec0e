//! Why a log in PostgreSQL cannot be opened, and what is to be done about it.

use crate::postgres::{call_failure::CallFailure, server_address::PostgresAddressError};

/// Why a log in PostgreSQL could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PostgresOpenError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] PostgresAddressError),
    /// The name of the schema is none.
    #[error("`{0}` is no name for a schema: 1 to 40 small letters, digits and `_`, a letter first")]
    SchemaName(String),
    /// Nobody can vouch for the server.
    #[error("the authorities that sign certificates: {0}")]
    Authorities(String),
    /// Nobody has made it yet.
    #[error("there is no log in the schema `{0}`: the first start of a service makes it")]
    NoLog(String),
    /// It is being filled, or that was interrupted.
    #[error(
        "the log in the schema `{0}` is not complete: run the `amoiq migrate` or `amoiq events import` that fills it again, or \
         drop the schema"
    )]
    Unfinished(String),
    /// No server was reached, or it refused.
    #[error("the database: {0}")]
    Database(String),
    /// It is older than what the log needs.
    #[error("the server is PostgreSQL {0}, and 15 or newer is needed")]
    ServerVersion(String),
    /// The database cannot hold every text.
    #[error("the database has the encoding {0}, and UTF8 is needed: make it anew with `ENCODING 'UTF8'`")]
    Encoding(String),
    /// Acknowledged events could be lost with the server's next crash.
    #[error(
        "the server has `{setting}` = `{value}`, so that a crash loses what was acknowledged: turn it on, or allow it in \
         the settings"
    )]
    NotDurable {
        /// The server's setting.
        setting: &'static str,
        /// What it is.
        value: String,
    },
    /// Something between gives each transaction another connection.
    #[error(
        "a pooler that shares connections between transactions is in front of the database: give the server's own address, or \
         let the pooler pool sessions"
    )]
    TransactionPooling,
    /// A schema of another release.
    #[error(
        "the schema `{schema}` was made by a newer release ({found}; this one reads {known}): run that release"
    )]
    NewerRelease {
        /// Its name.
        schema: String,
        /// What is there.
        found: i32,
        /// What this release makes.
        known: i32,
    },
    /// The thread of the store could not be started.
    #[error(transparent)]
    Thread(#[from] std::io::Error),
}

impl From<CallFailure> for PostgresOpenError {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::SharedSession(_) => Self::TransactionPooling,
            failure => Self::Database(failure.to_string()),
        }
    }
}
