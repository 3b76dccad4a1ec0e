//! How fast a store is, on the disk that it runs on.
//!
//! `cargo bench -p amoiq-events --bench store` prints one table and takes about three minutes.
//! `AMOIQ_BENCH_FULL=1` adds a log of ten million events (some 5 GB, a few minutes more);
//! `AMOIQ_BENCH_DIR` chooses the file system, otherwise it is that of temporary files;
//! `AMOIQ_BENCH_ONLY` runs one of `throughput`, `growth`, `latency`, `postgres`; the last only when it is named.
//!
//! | part | question |
//! |---|---|
//! | [`throughput`] | durable appends a second, and how that compares with a bare write and sync |
//! | [`growth`] | does appending, reading, replaying or starting get slower as the log grows |
//! | [`latency`] | how long one append takes while many others and the checkpoints go on |
//! | [`postgres`] | the same in PostgreSQL, with one node and with several |

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on says why and stops")]

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;

#[path = "store/growth.rs"]
mod growth;
#[path = "store/latency.rs"]
mod latency;
#[path = "store/load.rs"]
mod load;
#[path = "store/postgres.rs"]
mod postgres;
#[path = "store/throughput.rs"]
mod throughput;

fn main() {
    // `cargo test --all-targets` runs this too; it has nothing to test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let only = std::env::var("AMOIQ_BENCH_ONLY").ok();
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("{:<46} {:>14}", "measured", "result");
    if wanted("throughput") {
        throughput::measure(&runtime);
    }
    if wanted("growth") {
        growth::measure(&runtime);
    }
    if wanted("latency") {
        latency::measure(&runtime);
    }
    // It needs a PostgreSQL.
    if only.as_deref() == Some("postgres") {
        postgres::measure(&runtime);
    }
}

/// A directory on the file system that is measured; it goes when it is dropped.
fn directory() -> TempDir {
    let parent = std::env::var_os("AMOIQ_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).expect("a directory to measure in")
}

/// Prints a row of the table.
fn row(what: &str, result: &str) {
    println!("{what:<46} {result:>14}");
}

/// How many a second, as a whole number with separators.
fn rate(count: u64, time: Duration) -> String {
    let rate = u128::from(count) * 1_000_000 / time.as_micros().max(1);
    let digits = rate.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    format!("{}/s", groups.join(","))
}
