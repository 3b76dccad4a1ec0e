//! `views.db`: no read model is ahead of the log, and its rows are what was written.

use rusqlite::Connection;

use super::{
    super::{read_only, schema},
    Kind, StoreVerification, pages, rows,
};
use crate::Position;

/// What serves, and how far it has come. What is being filled or is to be dropped is nobody's answer.
const SERVING: &str = "SELECT projection, epoch, position FROM generations WHERE state = 1";

/// Compares the file with the log.
pub(super) fn check(views: &Connection, log: &Connection, found: &mut StoreVerification) {
    pages(views, "views.db", Kind::Views, found, &mut |_| {});
    if let Err(error) = compare(views, log, found) {
        found.found(Kind::Views, Position::START, "", format!("views.db: {error}"));
    }
}

fn compare(views: &Connection, log: &Connection, found: &mut StoreVerification) -> rusqlite::Result<()> {
    // Read before the log's end is, so a service that goes on meanwhile makes no problem.
    let _moment = views.unchecked_transaction()?;
    rows::check(views, "views.db", "", Kind::Views, found)?;
    let mut statement = views.prepare(SERVING)?;
    let serving = statement.query_map([], |row| {
        let position = Position::from_u64(row.get::<_, i64>(2)?.cast_unsigned());
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.cast_unsigned(), position))
    })?;
    let serving = serving.collect::<rusqlite::Result<Vec<_>>>()?;
    // Whatever is wrong with the log itself was reported.
    let (Ok(epoch), Ok(head)) = (schema::meta(log, "epoch"), read_only::head(log)) else { return Ok(()) };
    for (name, of, position) in serving {
        if of != epoch {
            found.found(Kind::Views, position, "", format!("`{name}` was made from another history"));
        } else if position > head {
            let what = format!("`{name}` stands at {position}, the log ends at {head}");
            found.found(Kind::Views, position, "", what);
        }
    }
    Ok(())
}
