//! Ensures that a database file holds nothing that was removed from it.
//!
//! `secure_delete` writes zeros over what is deleted, but not over the copies that SQLite leaves in the
//! free part of a page when it moves rows to another one. So the pages of all tables and indexes are looked
//! through, and that part of each is filled with zeros: in a transaction like any other change, so that a
//! crash leaves the page as it was or as it should be.
//!
//! Looking is done beside the writer, filling by the writer. A page may have been written in between: it is
//! read again within the transaction, and the free part that it has then is filled. SQLite copies rows
//! between pages and never what is free, and what was removed is no row any more: a page that was looked at
//! cannot receive a copy of it later, so one visit of each page is enough.
//!
//! Pages that are not of a tree are not touched: `secure_delete` fills those as a whole. They are known by
//! their first byte, with which overflow and free pages name another page: it says 2 and more only in files
//! of 2^25 pages, which are refused.

use rusqlite::Connection;

/// Where a sweep begins.
pub const FIRST: u32 = 1;

/// How many pages are looked at, and written at the most, in one step.
const STEP: u32 = 256;

/// From here on a page of another kind could be taken for one of a tree.
const MAX_PAGES: u32 = 1 << 25;

/// What was found by one step of a sweep.
pub struct ScrubStep {
    /// The numbers of pages that hold something where nothing is.
    pub unclean: Vec<u32>,
    /// Where the next step begins; nothing at the end of the file.
    pub next: Option<u32>,
}

/// Looks at some pages, from one on.
///
/// # Errors
/// When SQLite refuses, was built without `sqlite_dbpage`, or the file has 2^25 pages.
pub fn look(conn: &Connection, from: u32) -> rusqlite::Result<ScrubStep> {
    let _moment = conn.is_autocommit().then(|| conn.unchecked_transaction()).transpose()?;
    let count: u32 = conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if count >= MAX_PAGES {
        return Err(rusqlite::Error::ToSqlConversionFailure("the file is too large to be scrubbed".into()));
    }
    let mut read = conn.prepare_cached(READ_PAGE)?;
    let end = count.saturating_add(1).min(from.saturating_add(STEP));
    let mut unclean = Vec::new();
    for number in from..end {
        let page: Vec<u8> = read.query_row([number], |row| row.get(0))?;
        if free(number, &page).is_some_and(|free| free.iter().any(|byte| *byte != 0)) {
            unclean.push(number);
        }
    }
    Ok(ScrubStep { unclean, next: (end <= count).then_some(end) })
}

const READ_PAGE: &str = "SELECT data FROM sqlite_dbpage WHERE pgno = ?1";

/// Fills the free part that these pages have by now with zeros, as part of a transaction.
///
/// # Errors
/// When SQLite refuses.
pub fn clean(conn: &Connection, pages: &[u32]) -> rusqlite::Result<()> {
    let mut read = conn.prepare_cached(READ_PAGE)?;
    let mut write = conn.prepare_cached("UPDATE sqlite_dbpage SET data = ?2 WHERE pgno = ?1")?;
    for number in pages {
        let mut page: Vec<u8> = read.query_row([number], |row| row.get(0))?;
        if let Some(free) = free_mut(*number, &mut page) {
            free.fill(0);
            write.execute((number, page))?;
        }
    }
    Ok(())
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
    // A damaged page stays as it is: what it says of itself must not cost a row.
    let is_whole = pointers <= content && content <= page.len();
    let mut rows = (header + length..pointers).step_by(2);
    (is_whole && rows.all(|at| two(at).is_some_and(|row| row >= content))).then_some(pointers..content)
}

#[cfg(test)]
mod tests;
