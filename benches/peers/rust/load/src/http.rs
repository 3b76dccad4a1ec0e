//! Load over HTTP: as fast as so many connections get their answers, or at a rate that no slow answer lowers.

mod exchange;

use std::{collections::VecDeque, io, net::SocketAddr, time::Instant};

use anyhow::{Context, bail, ensure};
use exchange::{HttpAnswer, PostKind};
pub use exchange::{PAGE, WIDGET_KEY};

use crate::{
    arguments::LoadArguments,
    connection::{self, Connection},
    latencies::LatencyRecord,
    poller::SocketPoller,
    report::ReportLine,
    schedule::{LoadSchedule, run_name},
    server_figures::{ServerProcesses, UsageMeasurement},
    template::MessageTemplate,
};

/// A connection with at most one request under way.
struct HttpConnection {
    connection: Connection,
    address: SocketAddr,
    /// When the request under way was due, and its session.
    request: Option<(Instant, u64)>,
}

/// Everything of one measurement.
struct HttpLoad {
    kind: PostKind,
    template: MessageTemplate,
    connections: Vec<HttpConnection>,
    idle: VecDeque<usize>,
    poller: SocketPoller,
    scratch: Vec<u8>,
    /// What the first message of each session was called, if all others are to have its name.
    names: Vec<Vec<u8>>,
    measured_from: Instant,
    latencies: LatencyRecord,
    failed: usize,
}

/// Runs one measurement and prints it.
pub fn run(arguments: &LoadArguments, kind: &str) -> anyhow::Result<()> {
    let servers = ServerProcesses::new(arguments.all("pid")?);
    let (mut load, sessions) = (HttpLoad::open(arguments, kind)?, arguments.value("sessions", 2_000)?);
    let schedule = LoadSchedule::new(arguments)?;
    ensure!(
        (arguments.kind == "open") == schedule.rate().is_some(),
        "`open` has a --rate, everything else over HTTP goes as fast as it can"
    );
    load.measured_from = schedule.measured_from();
    let usage = load.run(&schedule, &servers, sessions)?;
    let messages = load.latencies.count();
    let figures = usage.figures()?;
    ReportLine::new(&arguments.kind)
        .field("post", kind)
        .field("connections", load.connections.len())
        .field("rate", schedule.rate().unwrap_or_default())
        .field("messages", messages)
        .field("failed", load.failed)
        .latencies(&mut load.latencies, schedule.measured().max(figures.elapsed))
        .usage(figures, &servers, messages)?
        .print();
    if messages == 0 {
        bail!("no request was answered as it should be");
    }
    Ok(())
}

impl HttpLoad {
    fn open(arguments: &LoadArguments, kind: &str) -> anyhow::Result<Self> {
        let (addresses, kind) = (arguments.addresses()?, kind.parse::<PostKind>()?);
        let count = arguments.value("connections", 64)?;
        let (poller, mut connections) = (SocketPoller::new()?, Vec::with_capacity(count));
        for (number, &address) in (0..count).zip(addresses.iter().cycle()) {
            let connection = Connection::open(address, number).context("the server does not listen")?;
            connection.set_nonblocking()?;
            poller.add(connection.stream(), number)?;
            connections.push(HttpConnection { connection, address, request: None });
        }
        Ok(Self {
            kind,
            template: kind.template(&run_name()),
            connections,
            idle: (0..count).collect(),
            poller,
            scratch: connection::scratch(),
            names: Vec::new(),
            measured_from: Instant::now(),
            latencies: LatencyRecord::with_capacity(1 << 20),
            failed: 0,
        })
    }

    fn run(
        &mut self,
        schedule: &LoadSchedule,
        servers: &ServerProcesses,
        sessions: u64,
    ) -> anyhow::Result<UsageMeasurement> {
        let (mut usage, mut sent) = (None, 0);
        loop {
            let now = Instant::now();
            if usage.is_none() && now >= self.measured_from {
                usage = Some(servers.measure()?);
            }
            while let Some(due) = schedule.due(sent, Instant::now()) {
                let Some(number) = self.idle.pop_front() else { break };
                self.send(number, due, (sent, sent % sessions))?;
                sent += 1;
            }
            let are_all_idle = self.idle.len() == self.connections.len();
            let is_over = schedule.is_over(sent, now) && are_all_idle;
            if is_over || now >= schedule.last_moment() {
                self.failed += self.connections.len() - self.idle.len();
                self.failed += usize::try_from(schedule.unsent(sent))?;
                return usage.context("nothing was measured");
            }
            let wake = if self.idle.is_empty() { schedule.last_moment() } else { schedule.wake(sent) };
            for place in 0..self.poller.wait_until(wake)? {
                if let Some(number) = self.poller.ready(place) {
                    self.receive(number)?;
                }
            }
        }
    }

    fn send(&mut self, number: usize, due: Instant, (message, session): (u64, u64)) -> anyhow::Result<()> {
        let one = self.connections.get_mut(number).context("a connection")?;
        one.request = Some((due, session));
        if one.connection.send(self.template.fill(message, session)).is_err() {
            self.replace(number)?;
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(one) = self.connections.get_mut(number) else { return Ok(()) };
        let (mut request, mut is_right) = (one.request, true);
        let (kind, names) = (self.kind, &mut self.names);
        let received = one.connection.flush().and_then(|()| {
            one.connection.receive(&mut self.scratch, |bytes| {
                let Some(answer) = HttpAnswer::parse(bytes).map_err(io::Error::other)? else {
                    return Ok(0);
                };
                let (_, session) = request.take().ok_or_else(|| io::Error::other("nobody asked"))?;
                is_right = kind.is_right(&answer)
                    && (kind != PostKind::Repeated || is_same(names, session, &answer));
                Ok(answer.bytes)
            })
        });
        let was_answered = one.request.is_some() && request.is_none();
        if was_answered {
            let due = one.request.take().map(|(due, _)| due);
            self.idle.push_back(number);
            if !is_right {
                self.failed += 1;
            } else if let Some(due) = due.filter(|due| *due >= self.measured_from) {
                self.latencies.add(due, Instant::now());
            }
        }
        if received.is_err() { self.replace(number) } else { Ok(()) }
    }

    /// A server may close a connection that it does not use. One that closes before it answers fails.
    fn replace(&mut self, number: usize) -> anyhow::Result<()> {
        let one = self.connections.get_mut(number).context("a connection")?;
        if one.request.take().is_some() {
            self.failed += 1;
            self.idle.push_back(number);
        }
        one.connection =
            Connection::open(one.address, number).context("the server does not listen any more")?;
        one.connection.set_nonblocking()?;
        self.poller.add(one.connection.stream(), number)?;
        Ok(())
    }
}

/// Whether the answer names the message of the session as the first answer did.
fn is_same(names: &mut Vec<Vec<u8>>, session: u64, answer: &HttpAnswer<'_>) -> bool {
    let (Some(id), Ok(session)) = (answer.message_id(), usize::try_from(session)) else { return false };
    if names.len() <= session {
        names.resize(session + 1, Vec::new());
    }
    let Some(name) = names.get_mut(session) else { return false };
    if name.is_empty() {
        name.extend(id);
    }
    name.as_slice() == id
}
