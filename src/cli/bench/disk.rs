//! What the disk does alone: as many bytes as the log has for a sync, written and synced again and again.

use std::{
    fs::File,
    io::{self, Seek, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{figure::Figure, load::micros};

/// About what an event is in the log.
const EVENT_BYTES: usize = 350;

/// Where it begins anew: the write-ahead log does so, too.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

/// How long it works before it looks whether it is to end.
const SLICE: Duration = Duration::from_millis(100);

/// The most syncs.
const MAX_SYNCS: usize = 1_000_000;

/// Measures syncs of so many events, for so long.
pub(super) async fn measure(place: &Path, events_a_sync: usize, time: Duration) -> anyhow::Result<Figure> {
    let path = place.join("disk");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    let mut writing =
        Writing { file, bytes: vec![b'x'; events_a_sync * EVENT_BYTES], latencies_us: Vec::new() };
    let begun = Instant::now();
    while begun.elapsed() < time && writing.latencies_us.len() < MAX_SYNCS {
        let slice = tokio::task::spawn_blocking(move || writing.slice());
        writing = slice.await?.with_context(|| path.display().to_string())?;
    }
    let (time, syncs) = (begun.elapsed(), writing.latencies_us.len() as u64);
    let mut latencies_us = writing.latencies_us;
    latencies_us.sort_unstable();
    Ok(Figure {
        part: "disk",
        name: format!("  the disk alone, {events_a_sync} a sync"),
        count: syncs,
        events: syncs * events_a_sync as u64,
        time,
        latencies_us,
        of_disk: None,
    })
}

struct Writing {
    file: File,
    bytes: Vec<u8>,
    latencies_us: Vec<u32>,
}

impl Writing {
    /// Goes on for a while.
    fn slice(mut self) -> io::Result<Self> {
        let begun = Instant::now();
        while begun.elapsed() < SLICE {
            let since = Instant::now();
            if self.file.stream_position()? >= FILE_BYTES {
                self.file.rewind()?;
            }
            self.file.write_all(&self.bytes)?;
            self.file.sync_data()?;
            self.latencies_us.push(micros(since));
        }
        Ok(self)
    }
}
