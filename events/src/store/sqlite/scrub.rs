//! Sees to it that a database file holds nothing that was removed from it.
//!
//! `secure_delete` writes zeros over what is deleted, but not over the copies that SQLite leaves in the
//! free part of a page when it moves rows to another one. So the pages of all tables and indexes are looked
//! through, and that part of each is filled with zeros: in a transaction like any other change, so that a
//! crash leaves the page as it was or as it should be. Each page is visited once, after the removal: what
//! later moves between pages is not what was removed.
//!
//! Pages that are not of a tree are not touched: `secure_delete` fills those as a whole. They are known by
//! their first byte, with which overflow and free pages name another page: it says 2 and more only in files
//! of 2^25 pages, which are refused.

use std::time::Duration;

use rusqlite::Connection;

/// Where a sweep begins.
pub const FIRST: u32 = 1;

/// How many pages are looked at, and written at the most, in one step.
const STEP: u32 = 256;

/// From here on a page of another kind could be taken for one of a tree.
const MAX_PAGES: u32 = 1 << 25;

/// How long cutting the write-ahead log waits for those who read it. Writers wait meanwhile.
const PATIENCE: Duration = Duration::from_millis(200);

/// A page with something in its free part.
pub struct Page {
    number: u32,
    /// As it was when it was looked at: nobody writes zeros into a page that is another one since.
    seen: Vec<u8>,
}

/// What was found by one step of a sweep.
pub struct Step {
    /// Pages that hold something where nothing is.
    pub unclean: Vec<Page>,
    /// Where the next step begins; nothing at the end of the file.
    pub next: Option<u32>,
}

/// Looks at some pages, from one on.
///
/// # Errors
/// When SQLite refuses, was built without `sqlite_dbpage`, or the file has 2^25 pages.
pub fn look(conn: &Connection, from: u32) -> rusqlite::Result<Step> {
    let _moment = conn.is_autocommit().then(|| conn.unchecked_transaction()).transpose()?;
    let count: u32 = conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if count >= MAX_PAGES {
        return Err(rusqlite::Error::ToSqlConversionFailure("the file is too large to be scrubbed".into()));
    }
    let mut page = conn.prepare_cached("SELECT data FROM sqlite_dbpage WHERE pgno = ?1")?;
    let end = count.saturating_add(1).min(from.saturating_add(STEP));
    let mut unclean = Vec::new();
    for number in from..end {
        let seen: Vec<u8> = page.query_row([number], |row| row.get(0))?;
        if free(number, &seen).is_some_and(|free| free.iter().any(|byte| *byte != 0)) {
            unclean.push(Page { number, seen });
        }
    }
    Ok(Step { unclean, next: (end <= count).then_some(end) })
}

/// Fills the free part of these pages with zeros, as part of a transaction.
///
/// # Errors
/// When SQLite refuses.
pub fn clean(conn: &Connection, pages: Vec<Page>) -> rusqlite::Result<()> {
    let mut read = conn.prepare("SELECT data FROM sqlite_dbpage WHERE pgno = ?1")?;
    let mut write = conn.prepare("UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1")?;
    for Page { number, seen } in pages {
        let mut now: Vec<u8> = read.query_row([number], |row| row.get(0))?;
        if now != seen {
            continue;
        }
        if let Some(free) = free_mut(number, &mut now) {
            free.fill(0);
            write.execute((number, now))?;
        }
    }
    Ok(())
}

/// Brings everything into the one file and cuts the write-ahead log to nothing. Whether that could be done:
/// whoever reads the file for long is in the way.
///
/// # Errors
/// When SQLite refuses.
pub fn truncate_log(conn: &Connection) -> rusqlite::Result<bool> {
    let patience: u32 = conn.pragma_query_value(None, "busy_timeout", |row| row.get(0))?;
    conn.busy_timeout(PATIENCE)?;
    let cut = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0));
    conn.busy_timeout(Duration::from_millis(patience.into()))?;
    cut
}

fn free(number: u32, page: &[u8]) -> Option<&[u8]> {
    page.get(bounds(number, page)?)
}

fn free_mut(number: u32, page: &mut [u8]) -> Option<&mut [u8]> {
    let bounds = bounds(number, page)?;
    page.get_mut(bounds)
}

/// Where a tree's page has neither pointers nor rows (<https://sqlite.org/fileformat2.html>, 1.6).
fn bounds(number: u32, page: &[u8]) -> Option<std::ops::Range<usize>> {
    // The first page begins with the header of the file.
    let header = if number == 1 { 100 } else { 0 };
    let length = match page.get(header)? {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return None,
    };
    let two = |at: usize| Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])));
    let rows = two(header + 3)?;
    let content = match two(header + 5)? {
        0 => 65_536,
        content => content,
    };
    let pointers = header + length + 2 * rows;
    (pointers <= content && content <= page.len()).then_some(pointers..content)
}

#[cfg(test)]
mod tests;
