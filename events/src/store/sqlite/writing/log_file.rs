//! Opens the log's own file for its writer: it is compared with the witness and repaired before anybody uses it.

use std::path::Path;

use rusqlite::Connection;

use crate::{
    Ambient, Position,
    store::{
        AppendReceipt, Epoch, REMEMBERED_IDS,
        sqlite::{
            OpenError, StoreRecovery,
            tables::{event_query, opening, schema},
            writing::{recent_ids::RecentIds, recovery, witness::HeadWitness},
        },
    },
};

/// The log's file, open, and what was found in it.
pub(in crate::store::sqlite) struct LogFile {
    pub(in crate::store::sqlite) conn: Connection,
    pub(in crate::store::sqlite) witness: HeadWitness,
    pub(in crate::store::sqlite) recovery: StoreRecovery,
    pub(in crate::store::sqlite) epoch: Epoch,
    /// The newest position that was given out.
    pub(in crate::store::sqlite) last: Position,
}

impl LogFile {
    pub(in crate::store::sqlite) fn open(directory: &Path, ambient: &Ambient) -> Result<Self, OpenError> {
        let path = directory.join("log.db");
        let new_epoch = || u64::from_le_bytes(ambient.bytes());
        let witness_file = directory.join("log.witness");
        let has_witness = witness_file.try_exists()?;
        let mut witness = HeadWitness::open(&witness_file)?;
        let acknowledged = witness.read();
        if acknowledged > Position::START && path.metadata().map_or(0, |file| file.len()) == 0 {
            return Err(OpenError::Gone(acknowledged));
        }
        let conn = opening::open_writer(&path, new_epoch())?;
        let recovery = recovery::recover(&conn, &witness, new_epoch())?;
        if !has_witness && recovery.head > Position::START {
            tracing::warn!(
                "log.witness is gone: a new one is started, and it is unknown whether the log lost its end"
            );
        }
        let epoch = Epoch(schema::meta(&conn, "epoch")?);
        // Positions that were acknowledged are not given out again.
        let last = recovery.lost_up_to.unwrap_or(recovery.head);
        witness.write(last)?;
        Ok(Self { conn, witness, recovery, epoch, last })
    }

    /// The ids of the newest events, by which repeats are recognised.
    pub(in crate::store::sqlite) fn recent(&self) -> rusqlite::Result<RecentIds> {
        let mut recent = RecentIds::default();
        for event_query::EventPlace { stream, id, position, version } in
            event_query::newest(&self.conn, REMEMBERED_IDS)?
        {
            recent.note(&stream.shared(), id, AppendReceipt { version, position });
        }
        recent.committed();
        Ok(recent)
    }
}
