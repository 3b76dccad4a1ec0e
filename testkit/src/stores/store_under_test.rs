//! The backend on which the tests of the service run: SQLite, or what `AMOIQ_TEST_STORE` names.
//!
//! With `postgres`, every data directory has a log of its own in the server that the tests of a process share.

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
};

use super::postgres_server::PostgresServer;

/// The schema that holds the log of each data directory.
static SCHEMAS: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// Whether the log is in PostgreSQL.
///
/// # Panics
/// When `AMOIQ_TEST_STORE` names no backend.
#[must_use]
pub fn is_in_postgres() -> bool {
    match env::var("AMOIQ_TEST_STORE").as_deref() {
        Err(_) | Ok("" | "sqlite") => false,
        Ok("postgres") => true,
        Ok(other) => panic!("AMOIQ_TEST_STORE is `{other}`, and must be sqlite or postgres"),
    }
}

/// The settings, as environment variables, that lead to the log of a data directory.
#[must_use]
pub fn store_settings(data: &Path) -> Vec<(&'static str, String)> {
    if !is_in_postgres() {
        return Vec::new();
    }
    vec![
        ("AMOIQ__STORE__BACKEND", "postgres".to_owned()),
        ("AMOIQ__STORE__URL", PostgresServer::shared().address()),
        ("AMOIQ__STORE__SCHEMA", schema_of(data)),
    ]
}

/// Gives a directory the log of another: the copy of a data directory has the same.
pub(crate) fn share_log(data: &Path, copy: &Path) {
    let schema = schema_of(data);
    SCHEMAS.lock().expect("a lock").insert(copy.to_owned(), schema);
}

fn schema_of(data: &Path) -> String {
    let mut schemas = SCHEMAS.lock().expect("a lock");
    let new = || PostgresServer::shared().new_schema();
    schemas.entry(data.to_owned()).or_insert_with(new).clone()
}
