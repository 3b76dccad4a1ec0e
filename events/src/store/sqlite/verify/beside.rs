//! The files beside the log: none of them may be ahead of it.
//!
//! What is derived is read before the log's end is, so a service that goes on meanwhile makes no problem.

use std::{fs, path::Path};

use rusqlite::{Connection, types::ValueRef};

use super::{
    super::{read_only, schema, witness::Witness},
    Kind, Verification, pages,
};
use crate::Position;

/// Checks `log.witness`, `views.db` and `outbox.db`.
pub(super) fn check(directory: &Path, log: &Connection, found: &mut Verification) {
    witness(&directory.join("log.witness"), log, found);
    let views = directory.join("views.db");
    if views.exists() {
        match read_only::open_database(&views) {
            Ok(conn) => check_views(&conn, log, found),
            Err(error) => found.found(Kind::Views, Position::START, "", format!("views.db: {error}")),
        }
    }
    let outbox = directory.join("outbox.db");
    if outbox.exists() {
        match read_only::open_database(&outbox) {
            Ok(conn) => check_outbox(&conn, log, found),
            Err(error) => found.found(Kind::Outbox, Position::START, "", format!("outbox.db: {error}")),
        }
    }
}

fn witness(path: &Path, log: &Connection, found: &mut Verification) {
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

fn check_views(views: &Connection, log: &Connection, found: &mut Verification) {
    pages(views, "views.db", Kind::Views, found, &mut |_| {});
    let Ok(epoch) = schema::meta(log, "epoch") else { return };
    let checkpoints = numbers(views, "SELECT projection, position, epoch FROM generations WHERE state = 1");
    let Ok(head) = read_only::head(log) else { return };
    match checkpoints {
        Ok(checkpoints) => {
            for (name, position, of) in checkpoints {
                if of != epoch {
                    found.found(Kind::Views, position, "", format!("`{name}` was made from another history"));
                } else if position > head {
                    let what = format!("`{name}` stands at {position}, the log ends at {head}");
                    found.found(Kind::Views, position, "", what);
                }
            }
        }
        Err(error) => found.found(Kind::Views, Position::START, "", format!("views.db: {error}")),
    }
}

/// No lane has passed what is not there. Another epoch is no damage: cursors are clamped at the next start.
fn check_outbox(outbox: &Connection, log: &Connection, found: &mut Verification) {
    pages(outbox, "outbox.db", Kind::Outbox, found, &mut |_| {});
    let epoch = outbox.query_row("SELECT ifnull(epoch, 0) FROM meta", [], |row| row.get::<_, i64>(0));
    let is_same = match (epoch, schema::meta(log, "epoch")) {
        (Ok(epoch), Ok(of)) => epoch.cast_unsigned() == of,
        _ => false,
    };
    if !is_same {
        found.note("outbox.db is of another epoch: its cursors are clamped at the next start");
        return;
    }
    let lanes = numbers(outbox, "SELECT webhook, cursor, 0 FROM lanes");
    let Ok(head) = read_only::head(log) else { return };
    match lanes {
        Ok(lanes) => {
            for (name, cursor, _) in lanes.into_iter().filter(|(_, cursor, _)| *cursor > head) {
                let what = format!("lane `{name}` stands at {cursor}, the log ends at {head}");
                found.found(Kind::Outbox, cursor, "", what);
            }
        }
        Err(error) => found.note(format!("the lanes of outbox.db were not compared: {error}")),
    }
}

/// Rows of a name and two numbers.
fn numbers(conn: &Connection, sql: &str) -> rusqlite::Result<Vec<(String, Position, u64)>> {
    let mut statement = conn.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let name = match row.get_ref(0)? {
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let position = Position::from_u64(row.get::<_, i64>(1)?.cast_unsigned());
        Ok((name, position, row.get::<_, i64>(2)?.cast_unsigned()))
    })?;
    rows.collect()
}
