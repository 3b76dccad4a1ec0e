//! The file `erasing` in the data directory: erasures that are not complete yet.
//!
//! It contains whole orders, so that the next start knows what was requested. It names persons, so only its owner may read
//! it, and it is deleted with the last order. It is replaced as a whole and durably, so an order in it was accepted, and a
//! file that cannot be parsed was not written by this program.

use std::{fs, io, path::Path};

use amoiq_events::{Position, SessionId, TenantId, UserId, durable_file, event::EventCause};
use serde::{Deserialize, Serialize};

/// The file's name.
const FILE: &str = "erasing";

/// A person or sessions to erase. An order without either only scrubs the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErasureOrder {
    pub(super) tenant: TenantId,
    pub(super) sessions: Vec<SessionId>,
    pub(super) user: Option<UserId>,
    /// The end of the log when it was requested: sessions that started later are not erased.
    pub(super) until: Position,
    pub(super) cause: EventCause,
}

/// The unfinished orders.
pub(super) fn read(directory: &Path) -> io::Result<Vec<ErasureOrder>> {
    let text = match fs::read(directory.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // Without serde's message, which quotes the file: this error goes to the service's log.
    serde_json::from_slice(&text).map_err(|error| {
        let why = format!(
            "it cannot be parsed (line {} column {}), so it is unknown whom to erase: `amoiq events --type \
             session.erased` lists the sessions that were erased; delete the file and erase the person again",
            error.line(),
            error.column()
        );
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// Adds an order, durably. An order that repeats another is merged with it. Returns the order as stored.
pub(super) fn add(directory: &Path, order: ErasureOrder) -> io::Result<ErasureOrder> {
    let mut orders = read(directory)?;
    let repeated = orders.iter().position(|known| known.repeats(&order));
    let order = match repeated.map(|index| orders.swap_remove(index)) {
        Some(known) => known.merge(order),
        None => order,
    };
    orders.push(order.clone());
    write(directory, &orders)?;
    Ok(order)
}

/// Replaces an order by what is left of it.
pub(super) fn replace(directory: &Path, order: &ErasureOrder, rest: Vec<ErasureOrder>) -> io::Result<()> {
    let mut orders = read(directory)?;
    orders.retain(|known| known != order);
    orders.extend(rest);
    write(directory, &orders)
}

impl ErasureOrder {
    fn repeats(&self, other: &Self) -> bool {
        let is_same = self.user.is_some() || self.sessions == other.sessions;
        self.tenant == other.tenant && self.user == other.user && is_same
    }

    fn merge(self, newer: Self) -> Self {
        let mut sessions = self.sessions;
        sessions.extend(newer.sessions);
        sessions.sort_unstable();
        sessions.dedup();
        Self { sessions, ..newer }
    }
}

fn write(directory: &Path, orders: &[ErasureOrder]) -> io::Result<()> {
    let file = directory.join(FILE);
    if orders.is_empty() {
        return durable_file::remove(&file);
    }
    let mut text = serde_json::to_vec_pretty(orders)?;
    text.push(b'\n');
    durable_file::replace(&file, &text)
}
