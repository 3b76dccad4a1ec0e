//! Puts load on a chat server over HTTP and Socket.IO, and says what it cost. Every answer is checked.
//!
//! ```sh
//! load closed --url http://127.0.0.1:4000 --pid PID --connections 64 --seconds 8
//! load open --url http://127.0.0.1:4000 --pid PID --connections 256 --rate 3000
//! load refused|repeated --url http://127.0.0.1:4000 --pid PID --connections 64
//! load delivery|acknowledgement --url http://127.0.0.1:4000 --pid PID --rate 1000 --sessions 100
//! load most --url http://127.0.0.1:4000 --from 2000 --step 2000 --limit-ms 125 --seconds 3
//! load room --url http://127.0.0.1:4000 --pid PID --sockets 1000 --messages 500 --window 16
//! load idle --url http://127.0.0.1:4000 --pid PID --sockets 10000
//! ```
//!
//! Several `--url` are nodes of one service: connections take them in turn. Several `--pid` are counted together, each with
//! the processes that it started. Latencies of `open`, `delivery` and `acknowledgement` are from when a message was due, not from
//! when it was sent. One thread does everything, with one `write` and one `read` a message.
//!
//! Each line says: how many messages were counted (after `--warmup` seconds) and how many failed, latencies, and for each
//! message the processor time of this program (`own_us`) and of the servers (`server_us`), the bytes that they wrote to disk,
//! how often their threads slept; then the memory of the first.

mod arguments;
mod connection;
mod http;
mod latencies;
mod poller;
mod report;
mod schedule;
mod server_figures;
mod sockets;
mod template;

use anyhow::bail;
use arguments::LoadArguments;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sockets::SocketWork;

fn main() -> anyhow::Result<()> {
    let arguments = LoadArguments::parse(std::env::args().skip(1))?;
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    match &*arguments.kind {
        "closed" | "open" => http::run(&arguments, "message"),
        "refused" | "repeated" => http::run(&arguments, &arguments.kind),
        "delivery" => sockets::run(&arguments, SocketWork::Delivery),
        "acknowledgement" => sockets::run(&arguments, SocketWork::Acknowledgement),
        "most" => sockets::run_steps(&arguments),
        "room" => sockets::run_room(&arguments),
        "idle" => sockets::run_idle(&arguments),
        other => bail!("{other} is no kind of work"),
    }
}
