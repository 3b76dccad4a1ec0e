//! Compares the marks with the log: each names an event that exists. They are checked in portions, each in one transaction.

use rusqlite::{Connection, types::Value};

use super::{
    PORTION, is_after,
    links::{LogRows, RowAt},
};
use crate::{
    Position,
    store::sqlite::{
        ProgressCallback, WorkProgress,
        maintenance::verification::{DefectKind, StoreVerification},
        tables::stream_index,
    },
};

/// Checks every mark.
pub(super) fn check(
    conn: &Connection,
    found: &mut StoreVerification,
    report: ProgressCallback<'_>,
) -> rusqlite::Result<()> {
    let (mut cursor, mut done) = ((Value::Null, 0), 0);
    loop {
        let moment = conn.unchecked_transaction()?;
        let (rows, last) = portion(conn, &cursor, found)?;
        drop(moment);
        done += u64::from(rows);
        report(WorkProgress { what: "marks", done, total: 0 });
        match last.filter(|_| rows == PORTION) {
            Some(last) => cursor = last,
            None => return Ok(()),
        }
    }
}

/// The stream and the number of a mark.
type Key = (Value, i64);

/// Checks the marks after one. Returns how many there were, and the last.
fn portion(
    conn: &Connection,
    behind: &Key,
    found: &mut StoreVerification,
) -> rusqlite::Result<(u32, Option<Key>)> {
    const COLUMNS: &str = "SELECT stream, mark, position, checksum FROM marks";
    let mut rows = LogRows::new(conn)?;
    let (mut first, mut next);
    let mut stored = if behind.0 == Value::Null {
        first = conn.prepare_cached(&format!("{COLUMNS} ORDER BY stream, mark LIMIT ?1"))?;
        first.query([PORTION])?
    } else {
        let sql = format!("{COLUMNS} WHERE (stream, mark) > (?1, ?2) ORDER BY stream, mark LIMIT ?3");
        next = conn.prepare_cached(&sql)?;
        next.query((&behind.0, behind.1, PORTION))?
    };
    let (mut count, mut last) = (0, None);
    while let Some(row) = stored.next()? {
        count += 1;
        let stream: String = row.get(0).unwrap_or_default();
        let number = |column| row.get::<_, i64>(column).unwrap_or_default().cast_unsigned();
        let (mark, position) = (number(1), Position::from_u64(number(2)));
        last = Some((row.get(0)?, mark.cast_signed()));
        let is_whole =
            row.get::<_, i64>(3).is_ok_and(|sum| sum == stream_index::mark_seal(&stream, mark, position));
        let fits = match rows.at(position) {
            RowAt::Event { stream: other, version, .. } => {
                other.as_str() == stream && version.as_u64() == mark.saturating_mul(stream_index::MARK_EVERY)
            }
            // It was reported at its own position.
            RowAt::Damaged => true,
            RowAt::Nothing => false,
        };
        if !is_whole || !fits {
            found.defect(DefectKind::Mark, position, &stream, format!("mark {mark} is not what was written"));
        }
    }
    if let Some((stream, mark)) = &last
        && !is_after(stream, &behind.0)
        && !(*stream == behind.0 && *mark > behind.1)
    {
        found.defect(DefectKind::Mark, Position::START, "", "the marks are not in the order of their keys");
        last = None;
    }
    Ok((count, last))
}
