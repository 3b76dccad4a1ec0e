//! One room with many listeners: how fast a message reaches all of them.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    client::{Client, message},
    crowd::{crowd, source},
    latency::Latency,
    loopback,
};

const SESSION: &str = "session-of-the-fanout";

/// How many listeners and messages.
#[derive(Args)]
pub struct Fanout {
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    url: String,
    #[arg(long, default_value_t = 1_000)]
    receivers: usize,
    #[arg(long, default_value_t = 200)]
    messages: usize,
}

impl Fanout {
    pub async fn run(self) -> anyhow::Result<()> {
        let (address, count) = (loopback(&self.url)?, self.messages);
        let listeners = crowd(self.receivers, 200, move |number| async move {
            let mut client = Client::visitor(address, source(number)).await?;
            client.say(&format!(r#"421["join:session",{{"sessionId":"{SESSION}"}}]"#)).await?;
            let answer = client.text().await?;
            ensure!(answer.starts_with("431[{\"success\":true") || answer.contains("sessionId"), "{answer}");
            Ok(client)
        })
        .await?;
        let start = Instant::now();
        let mut hearing = JoinSet::new();
        for mut listener in listeners {
            hearing.spawn(async move {
                let mut heard = Vec::with_capacity(count);
                for number in 0..count {
                    let text = listener.text().await?;
                    ensure!(text.contains(&format!("\"text\":\"fan-{number}\"")), "out of order: {text}");
                    heard.push(start.elapsed());
                }
                anyhow::Ok(heard)
            });
        }
        let (mut speaker, mut sent) = (Client::visitor(address, 1).await?, Vec::with_capacity(count));
        for number in 0..count {
            sent.push(start.elapsed());
            speaker.say(&message(SESSION, &format!("fan-{number}"))).await?;
            speaker.text().await?;
        }
        let mut all = Vec::with_capacity(count * self.receivers);
        while let Some(heard) = hearing.join_next().await {
            all.extend(heard??.into_iter().zip(&sent).map(|(heard, sent)| heard.saturating_sub(*sent)));
        }
        let took = start.elapsed();
        let rate = all.len() as f64 / took.as_secs_f64();
        println!(
            "{} to {} listeners in {:.2} s: {rate:.0} deliveries/s",
            count,
            self.receivers,
            took.as_secs_f64()
        );
        println!("to each listener {}", Latency::of(all));
        ensure!(took < Duration::from_secs(600), "it took too long");
        Ok(())
    }
}
