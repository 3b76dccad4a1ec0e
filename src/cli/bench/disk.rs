//! Measures the disk alone: it writes as many bytes as the events of one sync have and syncs them, again and again, over a
//! file that has its final size already.

use std::{
    fs::File,
    io::{self, Seek, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{result::BenchResult, visitors::micros};

/// The approximate size of an event in the log.
const EVENT_BYTES: usize = 350;

/// The size of the file: that of the write-ahead log when it starts over.
const FILE_BYTES: usize = 16 * 1024 * 1024;

/// How long it writes before it checks whether to stop.
const SLICE: Duration = Duration::from_millis(100);

/// The most syncs.
const MAX_SYNCS: usize = 1_000_000;

/// Measures syncs of this many events, for this long.
pub(super) async fn measure(
    place: &Path,
    events_a_sync: usize,
    time: Duration,
) -> anyhow::Result<BenchResult> {
    let path = place.join("disk");
    let failed = || path.display().to_string();
    let mut writing = DiskWriter::begin(&path, events_a_sync * EVENT_BYTES).with_context(failed)?;
    let begun = Instant::now();
    while begun.elapsed() < time && writing.latencies_us.len() < MAX_SYNCS {
        let slice = tokio::task::spawn_blocking(move || writing.slice());
        writing = slice.await?.with_context(failed)?;
    }
    let (time, syncs) = (begun.elapsed(), writing.latencies_us.len() as u64);
    let mut latencies_us = writing.latencies_us;
    latencies_us.sort_unstable();
    Ok(BenchResult {
        part: "disk",
        name: format!("  the disk alone, {events_a_sync} a sync"),
        count: syncs,
        events: syncs * events_a_sync as u64,
        time,
        latencies_us,
        of_disk: None,
    })
}

struct DiskWriter {
    file: File,
    bytes: Vec<u8>,
    /// Where the next bytes go.
    at: usize,
    latencies_us: Vec<u32>,
}

impl DiskWriter {
    /// Creates the file. A file that grows would take longer to sync.
    fn begin(path: &Path, bytes: usize) -> io::Result<Self> {
        let mut file = File::create(path)?;
        file.write_all(&vec![0; FILE_BYTES])?;
        file.sync_all()?;
        Ok(Self { file, bytes: vec![b'x'; bytes], at: FILE_BYTES, latencies_us: Vec::new() })
    }

    /// Writes for a while.
    fn slice(mut self) -> io::Result<Self> {
        let begun = Instant::now();
        while begun.elapsed() < SLICE {
            if self.at + self.bytes.len() > FILE_BYTES {
                self.file.rewind()?;
                self.at = 0;
            }
            let since = Instant::now();
            self.file.write_all(&self.bytes)?;
            self.file.sync_data()?;
            self.latencies_us.push(micros(since));
            self.at += self.bytes.len();
        }
        Ok(self)
    }
}
