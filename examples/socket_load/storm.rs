//! Many visitors come within a second and go within a second, as when a site's server restarts. What a
//! pair that talks feels of it, and what an admin is told.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::{
    client::Client,
    crowd::{crowd, source},
    latency::Latency,
    loopback,
    pair::{Experience, Pair},
};

/// How many.
#[derive(Args)]
pub struct Storm {
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    url: String,
    #[arg(long, default_value_t = 5_000)]
    connections: usize,
    /// How long each quiet part lasts. Longer than `presence.offline_grace_ms`, or not all are seen to go.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
}

impl Storm {
    pub async fn run(self) -> anyhow::Result<()> {
        let (address, quiet) = (loopback(&self.url)?, Duration::from_secs(self.seconds));
        let pair = Pair::start(address)?;
        sleep(quiet).await;
        let mut marks = vec![Instant::now()];
        // A storm is as wide as the queue of those who wait to be accepted.
        let visitors =
            crowd(self.connections, 1_000, move |number| Client::visitor(address, source(number))).await?;
        marks.push(Instant::now());
        sleep(quiet).await;
        marks.push(Instant::now());
        drop(visitors);
        sleep(quiet / 2).await;
        marks.push(Instant::now());
        sleep(quiet).await;
        let experience = pair.stop()?;
        print(&experience, &marks);
        let heard = experience.heard;
        // The pair's visitor came once, and named its session.
        println!("the admin heard {heard:?}");
        ensure!(heard.lists == 0, "a list that nobody asked for");
        ensure!(heard.online >= self.connections as u64, "somebody was not announced");
        ensure!(heard.offline >= self.connections as u64, "somebody's end was not announced");
        Ok(())
    }
}

/// A line for each part.
fn print(experience: &Experience, marks: &[Instant]) {
    let names = ["before", "they come", "they are here", "they go", "after"];
    for (place, name) in names.iter().enumerate() {
        let begin = place.checked_sub(1).and_then(|before| marks.get(before));
        let end = marks.get(place);
        // A message belongs to the part in which it was sent, and to that in which it came back.
        let is_in = |sent: Instant, took: Duration| {
            begin.is_none_or(|begin| sent + took >= *begin) && end.is_none_or(|end| sent < *end)
        };
        let those = experience.round_trips.iter().filter(|(sent, took)| is_in(*sent, *took));
        let took = match (begin, end) {
            (Some(begin), Some(end)) => format!("{:.2} s", (*end - *begin).as_secs_f64()),
            _ => String::new(),
        };
        println!("{name:<14} {}  {took}", Latency::of(those.map(|(_, took)| *took)));
    }
}
