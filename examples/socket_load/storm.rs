//! Many visitors connect within a second and leave within a second, as when a site's server restarts: how a pair that
//! exchanges messages is affected, and what an admin gets.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::{
    concurrency::{run_many, source_address},
    loopback,
    raw_client::RawClient,
    well_behaved_pair::LatencyFigures,
    well_behaved_pair::{PairReport, WellBehavedPair},
};

/// How many.
#[derive(Args)]
pub struct StormCommand {
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    url: String,
    #[arg(long, default_value_t = 5_000)]
    connections: usize,
    /// How long each quiet part lasts, in seconds: longer than `presence.offline_grace_ms`, or not every visitor goes
    /// offline in time.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
}

impl StormCommand {
    pub async fn run(self) -> anyhow::Result<()> {
        let (address, quiet) = (loopback(&self.url)?, Duration::from_secs(self.seconds));
        let pair = WellBehavedPair::start(address)?;
        sleep(quiet).await;
        let mut marks = vec![Instant::now()];
        // As many at once as the queue of the kernel takes.
        let visitors = run_many(self.connections, 1_000, move |number| {
            RawClient::visitor(address, source_address(number))
        })
        .await?;
        marks.push(Instant::now());
        sleep(quiet).await;
        marks.push(Instant::now());
        drop(visitors);
        sleep(quiet / 2).await;
        marks.push(Instant::now());
        sleep(quiet).await;
        let experience = pair.stop()?;
        print(&experience, &marks);
        let received = experience.received;
        // The pair's visitor connected once and named its session.
        println!("the admin received {received:?}");
        ensure!(received.lists == 0, "a list that nobody asked for");
        ensure!(received.online >= self.connections as u64, "a visitor was not announced as online");
        ensure!(received.offline >= self.connections as u64, "a visitor was not announced as offline");
        Ok(())
    }
}

/// A line for each part.
fn print(experience: &PairReport, marks: &[Instant]) {
    let names = ["before", "connecting", "connected", "leaving", "after"];
    for (place, name) in names.iter().enumerate() {
        let start = place.checked_sub(1).and_then(|before| marks.get(before));
        let end = marks.get(place);
        // A message counts in the part in which it was sent and in the part in which it came back.
        let is_in = |sent: Instant, took: Duration| {
            start.is_none_or(|start| sent + took >= *start) && end.is_none_or(|end| sent < *end)
        };
        let those = experience.round_trips.iter().filter(|(sent, took)| is_in(*sent, *took));
        let took = match (start, end) {
            (Some(start), Some(end)) => format!("{:.2} s", (*end - *start).as_secs_f64()),
            _ => String::new(),
        };
        println!("{name:<14} {}  {took}", LatencyFigures::of(those.map(|(_, took)| *took)));
    }
}
