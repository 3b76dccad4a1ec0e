//! What sockets cost that say nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::client::{open_all, session_name};
use crate::{
    arguments::LoadArguments, connection, poller::SocketPoller, report::ReportLine, schedule::run_name,
    server_figures::ServerProcesses,
};

/// The pause before the memory is measured.
const SETTLING: Duration = Duration::from_secs(3);

/// Opens sockets, each in a session of its own, and prints the memory of each, and the processor time of all.
pub fn run(arguments: &LoadArguments) -> anyhow::Result<()> {
    let (sockets, seconds) = (arguments.value("sockets", 10_000)?, arguments.seconds("seconds", 8.0)?);
    let servers = ServerProcesses::new(arguments.all("pid")?);
    let (run, mut scratch) = (run_name(), connection::scratch());
    let before = servers.memory()?;
    let names: Vec<_> = (0..sockets).map(|number| session_name(&run, number)).collect();
    let opening = servers.measure()?;
    let mut clients = open_all(&arguments.addresses()?, &names, &mut scratch)?;
    let opened = opening.figures()?;
    let mut poller = SocketPoller::new()?;
    for (number, client) in clients.iter().enumerate() {
        poller.add(client.connection().stream(), number)?;
    }
    let mut listen = |span: Duration| -> anyhow::Result<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            for place in 0..poller.wait_until(end)? {
                let number = poller.ready(place).context("a socket")?;
                let client = clients.get_mut(number).context("a socket")?;
                client.receive(&mut scratch, |_| {}).context("the server closed an idle socket")?;
            }
        }
        Ok(())
    };
    listen(SETTLING)?;
    let after = servers.memory()?;
    let usage = servers.measure()?;
    listen(seconds)?;
    let figures = usage.figures()?;
    ensure!(sockets > 0, "no sockets");
    let each = |before: u64, after: u64| after.saturating_sub(before) * 1_024 / sockets as u64;
    let share = figures.server_microseconds as f64 / figures.elapsed.as_micros() as f64 * 100.0;
    ReportLine::new(&arguments.kind)
        .field("sockets", sockets)
        .field("rss_bytes_each", each(before.resident, after.resident))
        .field("pss_bytes_each", each(before.proportional, after.proportional))
        .field("opening_seconds", format_args!("{:.1}", opened.elapsed.as_secs_f64()))
        .field("opening_us", opened.server_microseconds / sockets as u64)
        .field("core_percent", format_args!("{share:.2}"))
        .print();
    Ok(())
}
