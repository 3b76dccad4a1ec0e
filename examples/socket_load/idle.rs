//! The cost of silent connections: most visitors of a page never write.

use std::time::Duration;

use amoiq_testkit::{
    WIDGET_KEY,
    process_figures::{processor_ticks, resident_bytes},
};
use anyhow::ensure;
use clap::Args;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    concurrency::{run_many, source_address},
    loopback,
    raw_client::RawClient,
};

/// The pause before the service is measured.
const PAUSE: Duration = Duration::from_secs(5);

/// How many, and for how long.
#[derive(Args)]
pub struct IdleCommand {
    #[arg(long, default_value = "http://127.0.0.1:4000")]
    url: String,
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How long they stay, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The process id of the service, to measure its memory and processor time.
    #[arg(long)]
    pid: Option<u32>,
    /// Send no CONNECT: measures connections of the engine alone.
    #[arg(long)]
    mute: bool,
}

impl IdleCommand {
    pub async fn run(self) -> anyhow::Result<()> {
        let address = loopback(&self.url)?;
        let before = self.pid.map(resident_bytes).transpose()?;
        let is_mute = self.mute;
        let clients = run_many(self.connections, 200, move |number| async move {
            let client = RawClient::open(address, source_address(number), "tenantId=demo").await?;
            if is_mute { Ok(client) } else { client.introduce(WIDGET_KEY).await }
        })
        .await?;
        println!("{} connected", clients.len());
        let mut reading = JoinSet::<anyhow::Result<()>>::new();
        for mut client in clients {
            reading.spawn(async move {
                loop {
                    // Waits longer than a client's timeout, and answers pings.
                    match client.next().await {
                        Ok(Some(crate::websocket_frame::ServerFrame::Text(ping))) if ping == "2" => {
                            client.send_text("3").await?
                        }
                        Ok(Some(_)) => {}
                        Ok(None) => anyhow::bail!("closed by the server"),
                        Err(error) => return Err(error.into()),
                    }
                }
            });
        }
        sleep(PAUSE).await;
        let ticks = self.pid.map(processor_ticks).transpose()?;
        if let (Some(pid), Some(before)) = (self.pid, before) {
            let after = resident_bytes(pid)?;
            let each = after.saturating_sub(before) as f64 / self.connections as f64;
            println!("RSS {} -> {} KiB: {each:.0} bytes a connection", before / 1_024, after / 1_024);
        }
        sleep(Duration::from_secs(self.seconds)).await;
        if let (Some(pid), Some(ticks)) = (self.pid, ticks) {
            let used = processor_ticks(pid)? - ticks;
            let share = used as f64 / self.seconds as f64;
            let after = resident_bytes(pid)? / 1_024;
            println!(
                "processor {share:.2} % of one core over {} s; RSS {after} KiB at the end",
                self.seconds
            );
        }
        let lost = std::iter::from_fn(|| reading.try_join_next()).count();
        println!("{} still connected", reading.len());
        ensure!(lost == 0, "{lost} connections were lost");
        Ok(())
    }
}
