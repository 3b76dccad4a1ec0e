//! Reads a whole store and reports what does not fit.
//!
//! Every row of the log is read once, in the order of positions. Checked are its checksum, its envelope, whether this
//! release decodes it, and its link to the previous event of its stream, which must exist with the version below. Then the
//! index is compared with the log, and so are the files beside it. Nothing is changed and nothing is locked: it works beside
//! a running service, up to where the log ended when it started. SQLite's check of a file and the files beside the log are
//! each read as they are at one moment; the log and its index are read in short transactions, so that the service can
//! truncate its write-ahead log in between.
//!
//! Memory does not grow with the log. The newest event of up to half a million streams is remembered, so
//! that most links are followed without a lookup; the others are looked up by position. Whether the index has all streams
//! follows from counting events. A long list of defects is cut, and counted.

use std::path::Path;

use rusqlite::{Connection, types::Value};

use crate::{
    Position,
    store::{
        Epoch,
        sqlite::{
            OpenError, ProgressCallback, WorkProgress,
            files::{readable, row_seal},
            maintenance::{
                companion,
                store_files::StoreFiles,
                verification::{DefectKind, StoreVerification},
            },
            reading::read_only,
            tables::{event_query, schema},
        },
    },
};

mod index;
mod links;
mod log;
mod marks;
mod witness_check;

/// How many rows are compared in one transaction: a longer one would keep the write-ahead log of a running service from
/// being truncated.
const PORTION: u32 = 1_000;

impl StoreFiles<'_> {
    /// Reads everything after a position and reports what does not fit.
    ///
    /// # Errors
    /// When the log cannot be opened at all. Damage that is found once it is open is in the result.
    pub fn verify(
        self,
        from: Position,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, OpenError> {
        let log_file = read_only::log_file(self.path);
        let mut found = look(self, from, report).map_err(|error| error.judged(&log_file))?;
        found.clean = found.problem_count() == 0;
        // A file that does not fit may only be unreadable: nobody should restore a backup because of a disk that works again
        // in a moment.
        let is_counted = |kind| found.counts.contains_key(&kind);
        let beside = self.companions.iter().filter(|companion| is_counted(companion.kind()));
        let doubtful = is_counted(DefectKind::Pages).then_some(log_file);
        let mut doubtful = doubtful.into_iter().chain(beside.map(|companion| companion.file(self.path)));
        match doubtful.find_map(|file| readable::find(&file)) {
            Some(unreadable) => Err(OpenError::Unreadable(unreadable)),
            None => Ok(found),
        }
    }

    /// Compares the databases in a backup's file with the log in it, and checks nothing else.
    pub(super) fn verify_packed(self) -> Result<StoreVerification, OpenError> {
        let conn = read_only::open(self.path)?;
        let mut found = StoreVerification::default();
        companion::check_packed(&conn, self.companions, &mut found);
        found.clean = found.problem_count() == 0;
        Ok(found)
    }
}

/// SQLite checks the pages on a thread of its own while the rows are read.
fn look(
    files: StoreFiles<'_>,
    from: Position,
    report: ProgressCallback<'_>,
) -> Result<StoreVerification, OpenError> {
    let log_file = read_only::log_file(files.path);
    report(WorkProgress { what: "pages", done: 0, total: 0 });
    std::thread::scope(|threads| {
        let pages = threads.spawn(|| look_at_pages(&log_file));
        let rows = look_at_rows(files, from, report);
        let pages = pages.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(pages?.followed_by(rows?))
    })
}

fn look_at_pages(log_file: &Path) -> Result<StoreVerification, OpenError> {
    let mut found = StoreVerification::default();
    found.check_pages(&read_only::open(log_file)?, "log.db", DefectKind::Pages);
    Ok(found)
}

fn look_at_rows(
    files: StoreFiles<'_>,
    from: Position,
    report: ProgressCallback<'_>,
) -> Result<StoreVerification, OpenError> {
    let conn = read_only::open(&read_only::log_file(files.path))?;
    let mut found = StoreVerification { from, verified_to: from, ..StoreVerification::default() };
    let Some(at) = LogBounds::read(&conn, &mut found) else { return Ok(found) };
    found.epoch = Epoch(at.epoch).to_string();
    let end = at.head.max(at.floor);
    if from > end {
        let what =
            format!("the log ends at {end}, before --from {from}: it lost its end, or this is another log");
        found.defect(DefectKind::End, end, "", what);
    }
    log::check(&conn, at, &mut found, report)?;
    if let Err(error) = index::check(&conn, at, &mut found, report) {
        found.defect(
            DefectKind::Pages,
            Position::START,
            "",
            format!("the index cannot be read: {}", row_seal::reason(&error)),
        );
    }
    if files.path.is_dir() {
        witness_check::check(&files.path.join("log.witness"), &conn, &mut found);
        companion::check_beside(files.path, files.companions, &conn, &mut found);
    } else {
        companion::check_packed(&conn, files.companions, &mut found);
    }
    Ok(found)
}

/// What the log says about itself when the work starts.
#[derive(Clone, Copy)]
struct LogBounds {
    /// It is read up to here.
    head: Position,
    /// Up to here events may have been removed, and positions be missing.
    floor: Position,
    epoch: u64,
}

impl LogBounds {
    fn read(conn: &Connection, found: &mut StoreVerification) -> Option<Self> {
        // In one transaction: if the last event were removed in between, the log would seem to have lost its end.
        let begun = conn.unchecked_transaction();
        let _moment = begun
            .map_err(|error| found.defect(DefectKind::Pages, Position::START, "", error.to_string()))
            .ok()?;
        let mut number = |key: &str| {
            schema::meta(conn, key)
                .map_err(|error| {
                    found.defect(
                        DefectKind::Meta,
                        Position::START,
                        "",
                        format!("meta `{key}`: {}", row_seal::reason(&error)),
                    )
                })
                .ok()
        };
        let (epoch, floor, indexed) = (number("epoch"), number("floor"), number("indexed"));
        let last = event_query::last_position(conn);
        let last = last
            .map_err(|error| found.defect(DefectKind::Pages, Position::START, "", error.to_string()))
            .ok()?;
        let floor = Position::from_u64(floor.unwrap_or(last.as_u64()));
        let head = last.max(floor);
        if indexed.is_some_and(|indexed| indexed > head.as_u64()) {
            found.defect(DefectKind::Meta, Position::START, "", "the index claims to be ahead of the log");
        }
        Some(Self { head: last, floor, epoch: epoch.unwrap_or_default() })
    }
}

/// Whether a key comes after another, as SQLite orders them. In a damaged tree it may not, and continuing from it would
/// loop for ever.
fn is_after(key: &Value, other: &Value) -> bool {
    fn order(key: &Value) -> (u8, &[u8]) {
        match key {
            Value::Text(text) => (1, text.as_bytes()),
            Value::Blob(bytes) => (2, bytes),
            Value::Null | Value::Integer(_) | Value::Real(_) => (0, &[]),
        }
    }
    order(key) > order(other)
}
