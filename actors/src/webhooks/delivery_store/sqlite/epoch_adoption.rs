//! Takes over the epoch of the log, after a restore or the loss of the log's tail.

use amoiq_events::{Position, store::Epoch};
use rusqlite::Connection;

use super::{delivery_rows, lane_rows, schema};
use crate::webhooks::delivery_store::{DeliveryStoreError, log_damaged};

/// Takes over the log's epoch. What is stored after `head` belongs to events that are gone: the log will give their
/// positions to other events. Returns whether the epoch is another than the stored one.
pub(super) fn adopt(conn: &Connection, epoch: Epoch, head: Position) -> Result<bool, DeliveryStoreError> {
    if schema::epoch(conn)? == Some(epoch) {
        return Ok(false);
    }
    for scanned in lane_rows::all(conn)? {
        // A damaged lane is not served, whatever its row says.
        let Ok(mut lane) = scanned.row.inspect_err(|error| log_damaged(scanned.id, error)) else { continue };
        let progress = &mut lane.progress;
        progress.cursor = progress.cursor.min(head);
        if let Some(replay) = &mut progress.replay {
            for bound in [&mut replay.after, &mut replay.until, &mut replay.cursor] {
                *bound = head.min(*bound);
            }
        }
        delivery_rows::remove_beyond(conn, &mut lane, head)?;
        lane_rows::put(conn, &lane)?;
    }
    schema::set_epoch(conn, Some(epoch))?;
    Ok(true)
}
