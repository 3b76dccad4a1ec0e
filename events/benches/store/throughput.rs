//! Durable appends a second, beside a loop that only writes and syncs as many bytes as often.

use std::{
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use crate::{
    directory,
    load::{ROW_BYTES, Until, open, run},
    rate, row,
};

const APPENDERS: [u32; 4] = [1, 16, 256, 1_024];

const FOR: Until = Until { time: Duration::from_secs(4), events: 1_000_000 };

/// How long the bare loop runs.
const BARE_FOR: Duration = Duration::from_secs(2);

pub(crate) fn measure(runtime: &Runtime) {
    for appenders in APPENDERS {
        let dir = directory();
        let store = open(dir.path());
        let run = run(runtime, &store, "load", appenders, FOR);
        drop(store);
        let batch = usize::try_from(run.events / run.commits.max(1)).unwrap_or(usize::MAX).max(1);
        let (bare_events, bare_time) = bare(dir.path(), batch);
        let store_rate = u128::from(run.events) * 1_000_000 / run.time.as_micros();
        let bare_rate = u128::from(bare_events) * 1_000_000 / bare_time.as_micros();
        row(&format!("appends, {appenders} appenders"), &rate(run.events, run.time));
        row(&format!("  bare write+fdatasync of {batch} rows"), &rate(bare_events, bare_time));
        row("  share of the bare loop", &format!("{} %", store_rate * 100 / bare_rate.max(1)));
    }
}

/// Appends `batch` rows' bytes to a file and syncs it, again and again.
fn bare(directory: &std::path::Path, batch: usize) -> (u64, Duration) {
    let mut file = File::create(directory.join("bare")).expect("a file");
    let bytes = vec![b'x'; batch * ROW_BYTES];
    let begun = Instant::now();
    let mut events = 0;
    while begun.elapsed() < BARE_FOR {
        file.write_all(&bytes).expect("written");
        file.sync_data().expect("synced");
        events += batch as u64;
    }
    (events, begun.elapsed())
}
