//! Ensures that a database file contains nothing that was removed from it.
//!
//! `secure_delete` writes zeros over what is deleted, but not over the copies that SQLite leaves in the free part of a page
//! when it moves rows to another one. So this module examines the pages of all tables and indexes and fills the free part of
//! each with zeros, in a transaction like any other change, so that a crash leaves the page as it was or as it should be.
//!
//! Pages are examined beside the writer and filled by the writer. A page may have been written in between: it is read again
//! within the transaction, and the free part that it has then is filled. SQLite copies rows between pages and never free
//! space, and what was removed is no longer a row: a page that was examined cannot receive a copy of it later, so one visit
//! to each page is enough.
//!
//! Pages that do not belong to a tree are not touched: `secure_delete` fills them completely. They are recognised by their
//! first byte, which in overflow and free pages is a part of another page's number: it is 2 or more only in files of 2^25
//! pages, which are refused.

use rusqlite::Connection;

/// The page where a sweep starts.
pub const FIRST: u32 = 1;

/// How many pages one step examines, and the most that it writes.
const STEP: u32 = 256;

/// From this number of pages on, a page of another kind could be mistaken for one of a tree.
const MAX_PAGES: u32 = 1 << 25;

/// What one step of a sweep found.
pub struct ScrubStep {
    /// The numbers of pages that have something in their free part.
    pub unclean: Vec<u32>,
    /// Where the next step starts; `None` at the end of the file.
    pub next: Option<u32>,
}

/// Examines some pages, from one on.
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

/// Fills the free part that these pages now have with zeros, as part of a transaction.
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
    // The first page starts with the header of the file.
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
    // A damaged page stays as it is: trusting its header could destroy a row.
    let is_whole = pointers <= content && content <= page.len();
    let mut rows = (header + length..pointers).step_by(2);
    (is_whole && rows.all(|at| two(at).is_some_and(|row| row >= content))).then_some(pointers..content)
}

#[cfg(test)]
mod tests;
