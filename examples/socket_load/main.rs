//! Puts load on the sockets of a running service, and attacks a service that it starts itself.
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
//! It connects to loopback only, with the keys of the demo tenant, and ends by itself. It shares the machine with the
//! service, so every latency includes its own processor time.
#![expect(unreachable_pub, reason = "nobody uses a program as a library")]
#![expect(clippy::print_stdout, reason = "it prints figures")]

mod attacks;
mod fanout;
mod idle;
mod storm;

#[path = "../../tests/attacks/attack.rs"]
mod attack;
#[path = "../../tests/attacks/concurrency.rs"]
mod concurrency;
#[path = "../../tests/attacks/connection_attacks.rs"]
mod connection_attacks;
#[path = "../../tests/attacks/flood_attacks.rs"]
mod flood_attacks;
#[path = "../../tests/attacks/frame_attacks.rs"]
mod frame_attacks;
#[path = "../../tests/attacks/polling_attacks.rs"]
mod polling_attacks;
#[path = "../../tests/attacks/raw_client.rs"]
mod raw_client;
#[path = "../../tests/attacks/slow_attacks.rs"]
mod slow_attacks;
#[path = "../../tests/attacks/websocket_frame.rs"]
mod websocket_frame;
#[path = "../../tests/attacks/well_behaved_pair.rs"]
mod well_behaved_pair;

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

/// Load on the sockets.
#[derive(Parser)]
struct LoadArguments {
    #[command(subcommand)]
    command: LoadCommand,
}

#[derive(Subcommand)]
enum LoadCommand {
    /// Measures the cost of silent connections.
    Idle(idle::IdleCommand),
    /// Lets many visitors connect at once and leave at once, beside a pair that exchanges messages.
    Storm(storm::StormCommand),
    /// Sends messages to one room with many listeners.
    Fanout(fanout::FanoutCommand),
    /// Runs the attacks in full size, each against a service of its own.
    Attack(attacks::AttackCommand),
}

fn main() -> anyhow::Result<()> {
    let arguments = LoadArguments::parse();
    amoiq_testkit::process_figures::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.command {
        LoadCommand::Idle(idle) => runtime.block_on(idle.run()),
        LoadCommand::Storm(storm) => runtime.block_on(storm.run()),
        LoadCommand::Fanout(fanout) => runtime.block_on(fanout.run()),
        LoadCommand::Attack(attacks) => attacks.run(),
    }
}

/// `http://127.0.0.1:PORT`, and nothing that is not loopback.
fn loopback(url: &str) -> anyhow::Result<SocketAddr> {
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/').parse();
    let address: SocketAddr = address.context("http://127.0.0.1:PORT")?;
    ensure!(address.ip().is_loopback(), "loopback only");
    Ok(address)
}
