//! Verifies `views.db`: no read model is ahead of the log, and its rows are what was written.

use amoiq_events::{
    Position,
    store::{
        Epoch,
        sqlite::{CompanionCheck, CompanionDatabase},
    },
};

/// `views.db`, as it is verified with the log. It is made again from the log, so no backup has it.
pub const VIEW_DATABASE: CompanionDatabase = CompanionDatabase {
    name: "views",
    copying: None,
    advice: "none is needed: a service makes views.db again; stopped, it may be deleted",
    verify,
};

/// The generations that serve, and how far they are. Nobody reads what is being filled or is to be dropped.
const SERVING: &str = "SELECT projection, epoch, position FROM generations WHERE state = 1";

fn verify(check: &mut CompanionCheck<'_>) -> rusqlite::Result<()> {
    // Read before the log's end is, so a service that goes on meanwhile makes no defect.
    let _moment = check.database.unchecked_transaction()?;
    check.check_rows()?;
    let mut statement = check.database.prepare(SERVING)?;
    let serving = statement.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
            row.get::<_, Position>(2)?,
        ))
    })?;
    let serving = serving.collect::<rusqlite::Result<Vec<_>>>()?;
    // Whatever is wrong with the log itself is reported elsewhere.
    let (Some(epoch), Ok(head)) = (check.log.epoch(), check.log.head()) else { return Ok(()) };
    for (name, of, position) in serving {
        if of != epoch {
            check.defect(position, &format!("`{name}` was made from another history"));
        } else if position > head {
            check.defect(position, &format!("`{name}` is at {position}, the log ends at {head}"));
        }
    }
    Ok(())
}
