//! How fast a message reaches the many listeners of one room.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    concurrency::{run_many, source_address},
    loopback,
    raw_client::{RawClient, message},
    well_behaved_pair::LatencyFigures,
};

const SESSION: &str = "session-of-the-fanout";

/// How many listeners and messages.
#[derive(Args)]
pub struct FanoutCommand {
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    url: String,
    #[arg(long, default_value_t = 1_000)]
    receivers: usize,
    #[arg(long, default_value_t = 200)]
    messages: usize,
}

impl FanoutCommand {
    pub async fn run(self) -> anyhow::Result<()> {
        let (address, count) = (loopback(&self.url)?, self.messages);
        let listeners = run_many(self.receivers, 200, move |number| async move {
            let mut client = RawClient::visitor(address, source_address(number)).await?;
            client.send_text(&format!(r#"421["join:session",{{"sessionId":"{SESSION}"}}]"#)).await?;
            let answer = client.text().await?;
            ensure!(answer.starts_with("431[{\"success\":true") || answer.contains("sessionId"), "{answer}");
            Ok(client)
        })
        .await?;
        let start = Instant::now();
        let mut hearing = JoinSet::new();
        for mut listener in listeners {
            hearing.spawn(async move {
                let mut received = Vec::with_capacity(count);
                for number in 0..count {
                    let text = listener.text().await?;
                    ensure!(text.contains(&format!("\"text\":\"fan-{number}\"")), "out of order: {text}");
                    received.push(start.elapsed());
                }
                anyhow::Ok(received)
            });
        }
        let (mut speaker, mut sent) = (RawClient::visitor(address, 1).await?, Vec::with_capacity(count));
        for number in 0..count {
            sent.push(start.elapsed());
            speaker.send_text(&message(SESSION, &format!("fan-{number}"))).await?;
            speaker.text().await?;
        }
        let mut all = Vec::with_capacity(count * self.receivers);
        while let Some(received) = hearing.join_next().await {
            all.extend(
                received??.into_iter().zip(&sent).map(|(received, sent)| received.saturating_sub(*sent)),
            );
        }
        let took = start.elapsed();
        let rate = all.len() as f64 / took.as_secs_f64();
        println!(
            "{} to {} listeners in {:.2} s: {rate:.0} deliveries/s",
            count,
            self.receivers,
            took.as_secs_f64()
        );
        println!("to each listener {}", LatencyFigures::of(all));
        ensure!(took < Duration::from_secs(600), "it took too long");
        Ok(())
    }
}
