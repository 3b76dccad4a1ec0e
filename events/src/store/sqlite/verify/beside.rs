//! The files beside the log: none of them may be ahead of it.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{
    super::{OpenError, read_only, witness::Witness},
    Kind, StoreVerification, outbox, views,
};
use crate::Position;

/// Checks `log.witness`, `views.db` and `outbox.db`.
pub(super) fn check(directory: &Path, log: &Connection, found: &mut StoreVerification) {
    witness(&directory.join("log.witness"), log, found);
    let path = directory.join("views.db");
    if path.exists() {
        match read_only::open_database(&path) {
            Ok(conn) => views::check(&conn, log, found),
            Err(error) => {
                found.found(Kind::Views, Position::START, "", format!("views.db: {}", words(error)))
            }
        }
    }
    let path = directory.join("outbox.db");
    if path.exists() {
        match read_only::open_database(&path) {
            Ok(conn) => outbox::check(&conn, log, found),
            Err(error) => {
                found.found(Kind::Outbox, Position::START, "", format!("outbox.db: {}", words(error)))
            }
        }
    }
}

/// Why a file cannot be opened, without what that would mean for the log.
fn words(error: OpenError) -> String {
    match error {
        OpenError::Database(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn witness(path: &Path, log: &Connection, found: &mut StoreVerification) {
    let bytes = fs::read(path).unwrap_or_default();
    let acknowledged = Witness::decode(&bytes);
    let Ok(head) = read_only::head(log) else { return };
    if head > Position::START && acknowledged.is_none() {
        found.found(
            Kind::Witness,
            head,
            "",
            "log.witness is missing or damaged: a lost end would go unnoticed",
        );
    }
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > head) {
        let what = format!("positions up to {acknowledged} were acknowledged, the log ends at {head}");
        found.found(Kind::Witness, head, "", what);
    }
}
