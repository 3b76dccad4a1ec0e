//! Tables and functions of one part of the program: the log, leases, signals, deliveries. The first node that needs them
//! makes them, under the lock that appends take too. What a later release adds has to work for an older one that still
//! runs.

use std::time::Duration;

use super::{CallFailure, DatabaseSession, PostgresOpenError, SchemaName, timing};

/// How long one file of definitions may take.
const MAKE: Duration = Duration::from_mins(1);

/// The table of all parts.
const PARTS: &str = "CREATE TABLE {schema}.parts (name text PRIMARY KEY, release integer NOT NULL)";

/// Whether there is the schema. Where it exists, whoever may not make schemas can use it.
const HAS_SCHEMA: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = '{name}')";

/// Whether there is that table. A look-up by name would answer from what the session remembers.
const HAS_PARTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = '{name}' AND c.relname = 'parts')";

/// A part.
#[derive(Debug)]
pub struct SchemaPart {
    /// What it is called in the table of parts.
    pub name: &'static str,
    /// What makes each release from the one before: statements with the marks of [`SchemaName::fill`].
    pub steps: &'static [&'static [&'static str]],
}

impl SchemaPart {
    /// Makes the part, with its first rows, or brings it up to date.
    pub(crate) async fn prepare(
        &self,
        session: &mut DatabaseSession,
        schema: &SchemaName,
        first_rows: &str,
    ) -> Result<(), PostgresOpenError> {
        let known = i32::try_from(self.steps.len()).unwrap_or(i32::MAX);
        if self.release(session, schema).await? == known {
            return Ok(());
        }
        let lock = schema.fill("BEGIN; SELECT pg_advisory_xact_lock({lock})");
        session.execute(&lock, timing::WRITE_CALL).await?;
        if !session.value::<bool>(&schema.statement(HAS_PARTS)).await? {
            if !session.value::<bool>(&schema.statement(HAS_SCHEMA)).await? {
                session.execute(&schema.fill("CREATE SCHEMA {schema}"), timing::WRITE_CALL).await?;
            }
            session.execute(&schema.fill(PARTS), timing::WRITE_CALL).await?;
        }
        // Another node may have done it meanwhile.
        let found = self.release(session, schema).await?;
        if found > known {
            let schema = schema.as_str().to_owned();
            return Err(PostgresOpenError::NewerRelease { schema, found, known });
        }
        for texts in self.steps.iter().skip(usize::try_from(found).unwrap_or_default()) {
            for text in *texts {
                session.execute(&schema.fill(text), MAKE).await?;
            }
        }
        if found == 0 {
            session.execute(&schema.fill(first_rows), timing::WRITE_CALL).await?;
        }
        let note = format!(
            "INSERT INTO {{schema}}.parts (name, release) VALUES ('{}', {known})
             ON CONFLICT (name) DO UPDATE SET release = {known}; COMMIT",
            self.name
        );
        Ok(session.execute(&schema.fill(&note), timing::WRITE_CALL).await?)
    }

    /// The release that made the part; 0 when there is none.
    pub(crate) async fn release(
        &self,
        session: &mut DatabaseSession,
        schema: &SchemaName,
    ) -> Result<i32, CallFailure> {
        if !session.value::<bool>(&schema.statement(HAS_PARTS)).await? {
            return Ok(0);
        }
        let release = "SELECT coalesce((SELECT release FROM {schema}.parts WHERE name = '{part}'), 0)";
        session.value(&schema.statement(&release.replace("{part}", self.name))).await
    }
}
