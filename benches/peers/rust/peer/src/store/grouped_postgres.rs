//! One task writes: what waits is one statement, and so one transaction and one flush.

use std::collections::HashMap;

use anyhow::Context;
use sqlx::{Connection, PgConnection, Row};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    NewMessage, StoredMessage,
    ungrouped_postgres::SCHEMA,
    write_queue::{GROUP, QueuedMessage, WriteQueue, answer_all},
};

/// Leaves out what is stored already, or comes earlier in the group, under the same client's id. Nobody else writes, so
/// what it sees stays so. A subquery that gives a value is looked up in the index for each row; a join would be planned as a
/// scan of all messages.
const INSERT: &str = r#"
    WITH input AS (
      SELECT *, row_number() OVER (PARTITION BY tenant, session, coalesce(client_id, id::text) ORDER BY place) AS copy
      FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
        WITH ORDINALITY AS i (id, tenant, session, sender, client_id, body, about, place)
    ), fresh AS (
      SELECT *, row_number() OVER (PARTITION BY tenant, session ORDER BY place) AS nth FROM input i
      WHERE copy = 1 AND (client_id IS NULL OR (
        SELECT id FROM messages m
        WHERE m.tenant = i.tenant AND m.session = i.session AND m.client_id = i.client_id) IS NULL)
    ), counted AS (
      INSERT INTO sessions AS s (tenant, id, messages)
      SELECT tenant, session, count(*) FROM fresh GROUP BY tenant, session
      ON CONFLICT (tenant, id) DO UPDATE SET messages = s.messages + excluded.messages
      RETURNING tenant, id, messages
    )
    INSERT INTO messages (id, tenant, session, number, sender, client_id, body, about)
    SELECT f.id, f.tenant, f.session, c.messages - count(*) OVER (PARTITION BY f.tenant, f.session) + f.nth, f.sender,
      f.client_id, f.body, f.about::jsonb
    FROM fresh f JOIN counted c ON c.tenant = f.tenant AND c.id = f.session ORDER BY f.place
    RETURNING id, number, to_char(created AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#;

const FIRST: &str = "
    SELECT session, client_id, (
      SELECT id FROM messages m WHERE m.tenant = i.tenant AND m.session = i.session AND m.client_id = i.client_id)
    FROM unnest($1::text[], $2::text[], $3::text[]) AS i (tenant, session, client_id)";

/// The way to the task that writes.
pub struct GroupedPostgres {
    queue: WriteQueue,
}

impl GroupedPostgres {
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        let (queue, receiver) = WriteQueue::new();
        tokio::spawn(write(connection, receiver));
        Ok(Self { queue })
    }

    /// Stores a message, and returns once it is durable.
    pub async fn store(&self, message: NewMessage) -> anyhow::Result<StoredMessage> {
        self.queue.store(message).await
    }
}

async fn write(mut connection: PgConnection, mut receiver: mpsc::Receiver<QueuedMessage>) {
    let mut group = Vec::with_capacity(GROUP);
    while receiver.recv_many(&mut group, GROUP).await > 0 {
        let stored = store_group(&mut connection, &group).await;
        answer_all(group.drain(..), stored);
    }
}

async fn store_group(
    connection: &mut PgConnection,
    group: &[QueuedMessage],
) -> anyhow::Result<Vec<StoredMessage>> {
    let messages: Vec<_> = group.iter().map(|queued| &queued.message).collect();
    let rows = sqlx::query(INSERT)
        .bind(column(&messages, |message| message.id))
        .bind(column(&messages, |message| message.tenant))
        .bind(column(&messages, |message| &*message.session))
        .bind(column(&messages, |message| message.sender))
        .bind(column(&messages, |message| message.client_id.as_deref()))
        .bind(column(&messages, |message| &*message.text))
        .bind(column(&messages, |message| &*message.about))
        .fetch_all(&mut *connection)
        .await?;
    let mut places = HashMap::with_capacity(rows.len());
    for row in rows {
        places.insert(row.try_get::<Uuid, _>(0)?, (row.try_get(1)?, row.try_get(2)?));
    }
    let repeats: Vec<_> =
        messages.iter().copied().filter(|message| !places.contains_key(&message.id)).collect();
    let firsts = if repeats.is_empty() { HashMap::new() } else { first_ids(connection, &repeats).await? };
    let stored = messages.iter().map(|message| {
        if let Some(place) = places.remove(&message.id) {
            return Ok(StoredMessage { id: message.id, place: Some(place) });
        }
        let name = (message.session.clone(), message.client_id.clone().unwrap_or_default());
        let id = *firsts.get(&name).context("neither stored nor a repeat")?;
        Ok(StoredMessage { id, place: None })
    });
    stored.collect()
}

/// The ids of what is stored under these clients' ids, by session and client's id.
async fn first_ids(
    connection: &mut PgConnection,
    repeats: &[&NewMessage],
) -> anyhow::Result<HashMap<(String, String), Uuid>> {
    let rows = sqlx::query(FIRST)
        .bind(column(repeats, |message| message.tenant))
        .bind(column(repeats, |message| &*message.session))
        .bind(column(repeats, |message| message.client_id.as_deref()))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?))).collect()
}

fn column<'a, V>(messages: &[&'a NewMessage], value: impl Fn(&'a NewMessage) -> V) -> Vec<V> {
    messages.iter().map(|message| value(message)).collect()
}
