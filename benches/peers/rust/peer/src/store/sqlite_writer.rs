//! One thread writes: what waits is one transaction.

use std::thread;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    NewMessage, StoredMessage,
    write_queue::{GROUP, QueuedMessage, WriteQueue, answer_all},
};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS sessions (
      tenant TEXT, id TEXT, messages INTEGER NOT NULL, PRIMARY KEY (tenant, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS messages (
      id BLOB PRIMARY KEY, tenant TEXT NOT NULL, session TEXT NOT NULL, number INTEGER NOT NULL, sender TEXT NOT NULL,
      client_id TEXT, body TEXT NOT NULL, about TEXT NOT NULL, created TEXT NOT NULL,
      UNIQUE (tenant, session, number), UNIQUE (tenant, session, client_id)
    ) STRICT;";

const FIRST: &str = "SELECT id FROM messages WHERE tenant = ?1 AND session = ?2 AND client_id = ?3";

const COUNT: &str = "
    INSERT INTO sessions (tenant, id, messages) VALUES (?1, ?2, 1)
    ON CONFLICT (tenant, id) DO UPDATE SET messages = messages + 1 RETURNING messages";

const INSERT: &str = "
    INSERT INTO messages (id, tenant, session, number, sender, client_id, body, about, created)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, strftime('%Y-%m-%dT%H:%M:%fZ')) RETURNING created";

/// The way to the thread that writes.
pub struct SqliteWriter {
    queue: WriteQueue,
}

impl SqliteWriter {
    pub fn open(path: &str) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        let (queue, receiver) = WriteQueue::new();
        thread::Builder::new().name("writer".to_owned()).spawn(move || write(connection, receiver))?;
        Ok(Self { queue })
    }

    /// Stores a message, and returns once it is durable.
    pub async fn store(&self, message: NewMessage) -> anyhow::Result<StoredMessage> {
        self.queue.store(message).await
    }
}

fn write(mut connection: Connection, mut receiver: mpsc::Receiver<QueuedMessage>) {
    let mut group = Vec::with_capacity(GROUP);
    while receiver.blocking_recv_many(&mut group, GROUP) > 0 {
        let stored = store_group(&mut connection, &group);
        answer_all(group.drain(..), stored);
    }
}

fn store_group(connection: &mut Connection, group: &[QueuedMessage]) -> anyhow::Result<Vec<StoredMessage>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let messages = group.iter().map(|queued| store_one(&transaction, &queued.message));
    let stored = messages.collect::<Result<Vec<_>, _>>()?;
    transaction.commit()?;
    Ok(stored)
}

fn store_one(connection: &Connection, message: &NewMessage) -> rusqlite::Result<StoredMessage> {
    let NewMessage { id, tenant, session, sender, client_id, text, about } = message;
    if client_id.is_some() {
        let mut first = connection.prepare_cached(FIRST)?;
        let id = first.query_row(params![tenant, session, client_id], |row| row.get(0)).optional()?;
        if let Some(id) = id {
            return Ok(StoredMessage { id: Uuid::from_bytes(id), place: None });
        }
    }
    let mut count = connection.prepare_cached(COUNT)?;
    let number: i64 = count.query_row(params![tenant, session], |row| row.get(0))?;
    let mut insert = connection.prepare_cached(INSERT)?;
    let values = params![id.as_bytes(), tenant, session, number, sender, client_id, text, about];
    let created = insert.query_row(values, |row| row.get(0))?;
    Ok(StoredMessage { id: *id, place: Some((number, created)) })
}
