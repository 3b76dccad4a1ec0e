//! Deliveries to many endpoints, with and without one among them that accepts and never answers; or with and without
//! messages that every endpoint refuses.
//!
//! ```sh
//! cargo build --release && cargo build --release --example webhook_load
//! webhook_load --program target/release/amoiq
//! ```
//!
//! Each tenant has one endpoint. Rounds with and without the black hole alternate, each with its own service and data
//! directory, so that other load on the machine affects both. It talks only to loopback, and everything it does is
//! bounded. It shares the machine with the service, so its own processor time is part of every latency.
#![expect(unreachable_pub, reason = "nobody uses a program as a library")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a run that its arguments bound"
)]

mod receiver;
mod sender;
mod service;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Parser;
use tokio::time::Instant;

use self::{receiver::Receivers, service::Service};

/// Deliveries to many endpoints.
#[derive(Parser, Clone)]
struct Arguments {
    /// The program that is measured.
    #[arg(long)]
    program: PathBuf,
    /// Tenants, each with one endpoint.
    #[arg(long, default_value_t = 100)]
    tenants: usize,
    /// Messages per second, from all tenants together.
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// The length of a round.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// The percentage of messages that endpoints refuse in every other round. There is no black hole then.
    #[arg(long, default_value_t = 0)]
    refused_percent: u64,
    /// The number of rounds of each kind.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What is wrong in a round.
#[derive(Clone, Copy)]
struct Trouble {
    black_holes: usize,
    refused_percent: u64,
}

impl Trouble {
    const NONE: Self = Self { black_holes: 0, refused_percent: 0 };
}

impl Arguments {
    fn trouble(&self) -> Trouble {
        let black_holes = usize::from(self.refused_percent == 0);
        Trouble { black_holes, refused_percent: self.refused_percent }
    }
}

/// The result of a round.
struct Figures {
    deliveries: usize,
    p50_ms: f64,
    p99_ms: f64,
    processor_share: f64,
    resident_first_kib: u64,
    resident_last_kib: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!(
        "round  {}  deliveries/s  p50 ms  p99 ms  processor  memory KiB (first → last)",
        if arguments.refused_percent > 0 { "refused, %" } else { "black hole" }
    );
    for round in 1..=arguments.rounds {
        for trouble in [Trouble::NONE, arguments.trouble()] {
            let figures = runtime.block_on(measure(&arguments, trouble))?;
            let per_second = figures.deliveries as f64 / arguments.seconds as f64;
            let Figures { p50_ms, p99_ms, processor_share, resident_first_kib, resident_last_kib, .. } =
                figures;
            println!(
                "{round:>5}  {:>10}  {per_second:>12.0}  {p50_ms:>6.2}  {p99_ms:>6.2}  {:>8.1}%  {resident_first_kib} → {resident_last_kib}",
                trouble.black_holes as u64 + trouble.refused_percent,
                100.0 * processor_share
            );
        }
    }
    Ok(())
}

async fn measure(arguments: &Arguments, trouble: Trouble) -> anyhow::Result<Figures> {
    let Trouble { black_holes, refused_percent } = trouble;
    let start = Instant::now();
    let receivers = Receivers::listen(start).await?;
    let service = Service::start(arguments, &receivers, black_holes)?;
    let span = Duration::from_secs(arguments.seconds);
    let per_tenant = arguments.rate as f64 / arguments.tenants as f64;
    service.ready().await?;
    let address = service.address();
    let load = sender::TenantLoad { rate: per_tenant, refused_percent, span, start };
    let senders: Vec<_> =
        (0..arguments.tenants).map(|tenant| tokio::spawn(sender::send(address, tenant, load))).collect();
    // The first seconds are spent on connections and tables; the steady state comes after.
    tokio::time::sleep(span / 4).await;
    let (first, busy) = (service.resident_kib()?, service.processor_seconds()?);
    tokio::time::sleep(span / 2).await;
    let (last, busy) = (service.resident_kib()?, service.processor_seconds()? - busy);
    for sender in senders {
        sender.await??;
    }
    let healthy = arguments.tenants - black_holes;
    let each = (per_tenant * span.as_secs_f64()) as u64;
    let taken = (0..each).filter(|number| !sender::is_refused(*number, refused_percent)).count();
    let expected = taken * healthy;
    receivers.wait_for(expected, Duration::from_secs(10)).await?;
    let latencies = Arc::clone(&receivers.latencies).lock_owned().await;
    let mut latencies = latencies.clone();
    latencies.sort_unstable_by(f64::total_cmp);
    let at =
        |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Ok(Figures {
        deliveries: latencies.len(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        processor_share: busy / (span / 2).as_secs_f64(),
        resident_first_kib: first,
        resident_last_kib: last,
    })
}
