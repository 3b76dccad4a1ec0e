//! The witness: a file beside the log that says how far commits were acknowledged.
//!
//! SQLite silently drops a damaged end of its write-ahead log, as it must for commits that were never
//! acknowledged. The witness is written after each commit and before its answer. So a log that ends earlier has lost
//! acknowledged events, and the store can report that instead of going on as if nothing had happened. The witness is not
//! synced: after a power cut it may be older than the log, never newer.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use crate::Position;

/// Two copies, written in turn: half a write spoils one of them.
const COPY_BYTES: u64 = 12;

/// The open witness file.
pub(in crate::store::sqlite) struct HeadWitness {
    file: File,
    turn: u64,
}

impl HeadWitness {
    /// Opens or creates the file.
    pub(in crate::store::sqlite) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file, turn: 0 })
    }

    /// The highest acknowledged position in it.
    pub(in crate::store::sqlite) fn read(&self) -> Position {
        let copies = (0..2).filter_map(|copy| {
            let mut bytes = [0; 12];
            self.file.read_exact_at(&mut bytes, copy * COPY_BYTES).ok()?;
            Self::decode(&bytes)
        });
        copies.max().unwrap_or_default()
    }

    /// The highest position in the bytes of such a file; `None` when no copy is whole.
    pub(in crate::store::sqlite) fn decode(bytes: &[u8]) -> Option<Position> {
        let copies = bytes.chunks_exact(12).filter_map(|copy| {
            let (number, checksum) = copy.split_first_chunk::<8>()?;
            let is_whole = crc32c::crc32c(number).to_le_bytes() == checksum;
            is_whole.then(|| Position::from_u64(u64::from_le_bytes(*number)))
        });
        copies.max()
    }

    /// Records that everything up to `position` is about to be acknowledged.
    pub(in crate::store::sqlite) fn write(&mut self, position: Position) -> io::Result<()> {
        let number = position.as_u64().to_le_bytes();
        let mut bytes = [0; 12];
        let content = number.into_iter().chain(crc32c::crc32c(&number).to_le_bytes());
        bytes.iter_mut().zip(content).for_each(|(byte, value)| *byte = value);
        self.turn = 1 - self.turn;
        self.file.write_all_at(&bytes, self.turn * COPY_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_write_leaves_the_position_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let mut witness = HeadWitness::open(&path).unwrap();
        assert_eq!(witness.read(), Position::START);
        for number in 1..=7 {
            witness.write(Position::from_u64(number)).unwrap();
        }
        assert_eq!(HeadWitness::open(&path).unwrap().read(), Position::from_u64(7));
        witness.file.write_all_at(&[0xff; 5], witness.turn * COPY_BYTES).unwrap();
        assert_eq!(HeadWitness::open(&path).unwrap().read(), Position::from_u64(6));
    }
}
