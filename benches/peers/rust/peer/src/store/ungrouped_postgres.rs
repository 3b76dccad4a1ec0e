//! One insert a message, over a pool of connections.

use sqlx::{PgPool, Row, postgres::PgPoolOptions};

use super::{NewMessage, StoredMessage};

/// As many as the peer with Express has.
const CONNECTIONS: u32 = 20;

pub const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS sessions (
      tenant text, id text, messages bigint NOT NULL, PRIMARY KEY (tenant, id)
    );
    CREATE TABLE IF NOT EXISTS messages (
      id uuid PRIMARY KEY, tenant text NOT NULL, session text NOT NULL, number bigint NOT NULL, sender text NOT NULL,
      client_id text, body text NOT NULL, about jsonb NOT NULL, created timestamptz NOT NULL DEFAULT now(),
      UNIQUE (tenant, session, number), UNIQUE (tenant, session, client_id)
    )";

/// One round trip: the row of the session is locked until the commit, so numbers have no gaps.
const INSERT: &str = r#"
    WITH next AS (
      INSERT INTO sessions AS s (tenant, id, messages) VALUES ($2, $3, 1)
      ON CONFLICT (tenant, id) DO UPDATE SET messages = s.messages + 1 RETURNING messages
    )
    INSERT INTO messages (id, tenant, session, number, sender, client_id, body, about)
    SELECT $1, $2, $3, messages, $4, $5, $6, $7::text::jsonb FROM next
    RETURNING number, to_char(created AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#;

const FIRST: &str = "SELECT id FROM messages WHERE tenant = $1 AND session = $2 AND client_id = $3";

/// A pool.
pub struct UngroupedPostgres {
    pool: PgPool,
}

impl UngroupedPostgres {
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// Stores a message, and returns once it is durable.
    pub async fn store(&self, message: NewMessage) -> anyhow::Result<StoredMessage> {
        let insert = sqlx::query(INSERT)
            .bind(message.id)
            .bind(message.tenant)
            .bind(&message.session)
            .bind(message.sender)
            .bind(&message.client_id)
            .bind(&message.text)
            .bind(&message.about);
        match insert.fetch_one(&self.pool).await {
            Ok(row) => Ok(StoredMessage { id: message.id, place: Some((row.try_get(0)?, row.try_get(1)?)) }),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                let first = sqlx::query(FIRST)
                    .bind(message.tenant)
                    .bind(&message.session)
                    .bind(&message.client_id)
                    .fetch_one(&self.pool)
                    .await?;
                Ok(StoredMessage { id: first.try_get(0)?, place: None })
            }
            Err(error) => Err(error.into()),
        }
    }
}
