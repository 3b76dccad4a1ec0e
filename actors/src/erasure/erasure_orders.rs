//! The file `erasing` in the data directory: whom to erase, for as long as that is not done everywhere.
//!
//! It holds the orders as a whole, so that whoever starts next knows what the one before was asked. It names
//! the person, so only its owner may read it, and it goes with the last order. It is replaced as a whole and
//! durably: an order that stands in it was taken, and a file that does not read is nothing that this wrote.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use amoiq_events::{Position, SessionId, TenantId, UserId, event::EventCause};
use serde::{Deserialize, Serialize};

/// The file's name.
const FILE: &str = "erasing";

/// What the next one is called until it is whole.
const FRESH: &str = "erasing.new";

/// A person, or some sessions, to be erased. One without either has only the files to be seen to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErasureOrder {
    pub(super) tenant: TenantId,
    pub(super) sessions: Vec<SessionId>,
    pub(super) user: Option<UserId>,
    /// Where the log ended when it was asked for: a session that began later is not meant.
    pub(super) until: Position,
    pub(super) cause: EventCause,
}

/// The orders that are not done.
pub(super) fn read(directory: &Path) -> io::Result<Vec<ErasureOrder>> {
    let text = match fs::read(directory.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // Not serde's words, which quote: they are for the service's log.
    serde_json::from_slice(&text).map_err(|error| {
        let why = format!(
            "it does not read (line {} column {}), so whom to erase is not known: `amoiq events --type \
             session.erased` says which sessions were; delete the file and erase the person again",
            error.line(),
            error.column()
        );
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// Notes an order, durably. Asked for again it is one, with all that was asked for: that is what it gives.
pub(super) fn note(directory: &Path, order: ErasureOrder) -> io::Result<ErasureOrder> {
    let mut orders = read(directory)?;
    let again = orders.iter().position(|known| known.is_again(&order));
    let order = match again.map(|place| orders.swap_remove(place)) {
        Some(known) => known.with(order),
        None => order,
    };
    orders.push(order.clone());
    write(directory, &orders)?;
    Ok(order)
}

/// Puts what is left of an order in its place.
pub(super) fn replace(directory: &Path, order: &ErasureOrder, rest: Vec<ErasureOrder>) -> io::Result<()> {
    let mut orders = read(directory)?;
    orders.retain(|known| known != order);
    orders.extend(rest);
    write(directory, &orders)
}

impl ErasureOrder {
    fn is_again(&self, other: &Self) -> bool {
        let is_same = self.user.is_some() || self.sessions == other.sessions;
        self.tenant == other.tenant && self.user == other.user && is_same
    }

    fn with(self, again: Self) -> Self {
        let mut sessions = self.sessions;
        sessions.extend(again.sessions);
        sessions.sort_unstable();
        sessions.dedup();
        Self { sessions, ..again }
    }
}

fn write(directory: &Path, orders: &[ErasureOrder]) -> io::Result<()> {
    let (file, fresh) = (directory.join(FILE), directory.join(FRESH));
    // One that a stop left names somebody too.
    remove(&fresh)?;
    if orders.is_empty() {
        remove(&file)?;
    } else {
        let mut writing = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        serde_json::to_writer_pretty(&mut writing, orders)?;
        writing.write_all(b"\n")?;
        writing.sync_all()?;
        fs::rename(&fresh, &file)?;
    }
    // A name is durable with its directory.
    File::open(directory)?.sync_all()
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
