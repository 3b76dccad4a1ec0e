//! Load on the sockets of a running service, and attacks on one that it starts itself.
//!
//! ```sh
//! cargo build --release && cargo build --release --example socket_load
//! AMOIQ__REALTIME__CONNECTIONS_PER_IP=0 AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND=0 target/release/amoiq &
//! socket_load idle --pid $! --connections 10000
//! socket_load storm --connections 5000
//! socket_load fanout --receivers 1000
//! socket_load attack --program target/release/amoiq
//! ```
//!
//! It speaks to loopback alone, with the demo tenant's keys, and everything that it does has an end. It
//! shares the machine with the service: its own processor time is in every latency.
#![expect(unreachable_pub, reason = "nobody uses a program as a library")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

mod attacks;
mod fanout;
mod idle;
mod storm;

#[path = "../../tests/attacks/attack.rs"]
mod attack;
#[path = "../../tests/attacks/client.rs"]
mod client;
#[path = "../../tests/attacks/connections.rs"]
mod connections;
#[path = "../../tests/attacks/crowd.rs"]
mod crowd;
#[path = "../../tests/attacks/filling.rs"]
mod filling;
#[path = "../../tests/attacks/flood.rs"]
mod flood;
#[path = "../../tests/attacks/frame.rs"]
mod frame;
#[path = "../../tests/attacks/frames.rs"]
mod frames;
#[path = "../../tests/attacks/latency.rs"]
mod latency;
#[path = "../../tests/attacks/pair.rs"]
mod pair;
#[path = "../../tests/attacks/patience.rs"]
mod patience;
#[path = "../../tests/attacks/polls.rs"]
mod polls;
#[path = "../../tests/attacks/silence.rs"]
mod silence;

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

/// Load on the sockets.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Connections that say nothing: what they cost.
    Idle(idle::Idle),
    /// Many visitors come at once and go at once, beside a pair that talks.
    Storm(storm::Storm),
    /// One room with many listeners.
    Fanout(fanout::Fanout),
    /// The attacks in full size, each against a service of its own.
    Attack(attacks::Attacks),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    amoiq_testkit::process_figures::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.command {
        Command::Idle(idle) => runtime.block_on(idle.run()),
        Command::Storm(storm) => runtime.block_on(storm.run()),
        Command::Fanout(fanout) => runtime.block_on(fanout.run()),
        Command::Attack(attacks) => attacks.run(),
    }
}

/// `http://127.0.0.1:PORT`, and nothing that is not loopback.
fn loopback(url: &str) -> anyhow::Result<SocketAddr> {
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/').parse();
    let address: SocketAddr = address.context("http://127.0.0.1:PORT")?;
    ensure!(address.ip().is_loopback(), "loopback only");
    Ok(address)
}
