//! Where messages are durable.

mod grouped_postgres;
mod sqlite_writer;
mod ungrouped_postgres;
mod write_queue;

use uuid::Uuid;

pub use self::{
    grouped_postgres::GroupedPostgres, sqlite_writer::SqliteWriter, ungrouped_postgres::UngroupedPostgres,
};

/// A message to store.
#[derive(Debug)]
pub struct NewMessage {
    pub id: Uuid,
    pub tenant: &'static str,
    pub session: String,
    pub sender: &'static str,
    pub client_id: Option<String>,
    pub text: String,
    /// What the client said besides, as JSON.
    pub about: String,
}

/// A message that is durable.
#[derive(Debug)]
pub struct StoredMessage {
    /// Of the first message with the client's id.
    pub id: Uuid,
    /// Its number in the session and when it was stored, unless it was stored before.
    pub place: Option<(i64, String)>,
}

/// A store.
pub enum MessageStore {
    Ungrouped(UngroupedPostgres),
    Grouped(GroupedPostgres),
    Sqlite(SqliteWriter),
}

impl MessageStore {
    /// Stores a message, and returns once it is durable.
    pub async fn store(&self, message: NewMessage) -> anyhow::Result<StoredMessage> {
        match self {
            Self::Ungrouped(postgres) => postgres.store(message).await,
            Self::Grouped(postgres) => postgres.store(message).await,
            Self::Sqlite(sqlite) => sqlite.store(message).await,
        }
    }
}
