//! Load over sockets at a fixed rate: from one visitor's tab to another, or until each message is acknowledged.

mod client;
mod frame;
mod idle;
mod room;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::Context;
use memchr::memmem::Finder;

use self::client::{ServerText, SocketClient, message_template, open_all, session_name};
pub use self::{idle::run as run_idle, room::run as run_room};
use crate::{
    arguments::LoadArguments,
    connection,
    latencies::LatencyRecord,
    poller::SocketPoller,
    report::ReportLine,
    schedule::{LoadSchedule, run_name},
    server_figures::{ServerProcesses, UsageFigures, UsageMeasurement},
    template::{MessageTemplate, number_after},
};

/// What the text of each message starts with.
const TEXT: &str = "load-";
static TEXT_START: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(TEXT));

/// When a message is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketWork {
    /// Once another socket of the session has it.
    Delivery,
    /// Once it is acknowledged.
    Acknowledgement,
}

/// Sockets that send, and those that receive.
struct SocketLoad {
    work: SocketWork,
    template: MessageTemplate,
    clients: Vec<SocketClient>,
    /// Sockets of one session stand beside each other; the first sends.
    session_sockets: usize,
    /// The last message that each session's receiver has.
    last: Vec<Option<u64>>,
    poller: SocketPoller,
    scratch: Vec<u8>,
    /// The numbers of a run follow those of the one before.
    first: u64,
}

/// What became of the messages of one run.
struct SocketOutcome {
    latencies: LatencyRecord,
    refused: usize,
    disordered: usize,
    unanswered: u64,
    answered: u64,
    usage: UsageFigures,
}

/// Runs one measurement at a rate and prints it.
pub fn run(arguments: &LoadArguments, work: SocketWork) -> anyhow::Result<()> {
    let servers = ServerProcesses::new(arguments.all("pid")?);
    let mut load = SocketLoad::open(arguments, work)?;
    let outcome = load.run(LoadSchedule::new(arguments)?, &servers)?;
    print(arguments, &servers, outcome)
}

/// Raises the rate until the slowest hundredth of the acknowledgements is later than a limit. Prints each rate that the
/// server keeps up with.
pub fn run_steps(arguments: &LoadArguments) -> anyhow::Result<()> {
    let servers = ServerProcesses::new(arguments.all("pid")?);
    let mut load = SocketLoad::open(arguments, SocketWork::Acknowledgement)?;
    let (mut rate, step) = (arguments.value("from", 2_000)?, arguments.value("step", 2_000)?);
    let limit = Duration::from_millis(arguments.value("limit-ms", 125)?);
    let (warmup, seconds) = (arguments.seconds("warmup", 0.5)?, arguments.seconds("seconds", 3.0)?);
    let (mut best, mut tries) = (0, 0);
    let last = arguments.value("to", u64::MAX)?;
    while tries < 2 && rate <= last {
        let mut outcome = load.run(LoadSchedule::starting(rate, warmup, seconds), &servers)?;
        let [_, tail, _] = outcome.latencies.percentiles();
        if outcome.failures() == 0 && tail <= limit {
            (best, tries) = (rate, 0);
            rate += step;
        } else {
            tries += 1;
        }
    }
    ReportLine::new(&arguments.kind)
        .field("limit_ms", limit.as_millis())
        .field("most_per_second", best)
        .print();
    Ok(())
}

fn print(
    arguments: &LoadArguments,
    servers: &ServerProcesses,
    mut outcome: SocketOutcome,
) -> anyhow::Result<()> {
    let messages = outcome.latencies.count();
    ReportLine::new(&arguments.kind)
        .field("rate", arguments.value("rate", 0)?)
        .field("messages", messages)
        .field("failed", outcome.failures())
        .field("disordered", outcome.disordered)
        .latencies(&mut outcome.latencies, outcome.usage.elapsed)
        .usage(outcome.usage, servers, messages)?
        .print();
    Ok(())
}

impl SocketOutcome {
    fn failures(&self) -> usize {
        self.refused + usize::try_from(self.unanswered).unwrap_or(usize::MAX)
    }
}

impl SocketLoad {
    fn open(arguments: &LoadArguments, work: SocketWork) -> anyhow::Result<Self> {
        let (run, sessions) = (run_name(), arguments.value("sessions", 100)?);
        let session_sockets = if work == SocketWork::Delivery { 2 } else { 1 };
        let names: Vec<_> = (0..sessions * session_sockets)
            .map(|number| session_name(&run, number / session_sockets))
            .collect();
        let mut scratch = connection::scratch();
        let clients = open_all(&arguments.addresses()?, &names, &mut scratch)?;
        let poller = SocketPoller::new()?;
        for (number, client) in clients.iter().enumerate() {
            poller.add(client.connection().stream(), number)?;
        }
        let template = message_template(&run, work == SocketWork::Acknowledgement);
        Ok(Self {
            work,
            template,
            clients,
            session_sockets,
            last: vec![None; sessions],
            poller,
            scratch,
            first: 0,
        })
    }

    fn run(&mut self, schedule: LoadSchedule, servers: &ServerProcesses) -> anyhow::Result<SocketOutcome> {
        let mut outcome = SocketOutcome {
            latencies: LatencyRecord::with_capacity(1 << 20),
            refused: 0,
            disordered: 0,
            unanswered: 0,
            answered: 0,
            usage: UsageFigures::default(),
        };
        let (mut usage, mut sent) = (None::<UsageMeasurement>, 0);
        loop {
            let now = Instant::now();
            if usage.is_none() && now >= schedule.measured_from() {
                usage = Some(servers.measure()?);
            }
            while schedule.due(sent, Instant::now()).is_some() {
                self.send(self.first + sent)?;
                sent += 1;
            }
            if (schedule.is_over(sent, now) && outcome.answered == sent) || now >= schedule.last_moment() {
                self.first += sent;
                outcome.unanswered = sent - outcome.answered;
                outcome.usage = usage.context("nothing was measured")?.figures()?;
                return Ok(outcome);
            }
            for place in 0..self.poller.wait_until(schedule.wake(sent))? {
                if let Some(number) = self.poller.ready(place) {
                    self.receive(number, &schedule, &mut outcome)?;
                }
            }
        }
    }

    fn send(&mut self, message: u64) -> anyhow::Result<()> {
        let session = message % self.last.len() as u64;
        let frame = self.template.fill(message, session);
        let sender = usize::try_from(session)? * self.session_sockets;
        Ok(self.clients.get_mut(sender).context("a socket")?.send(frame)?)
    }

    fn receive(
        &mut self,
        number: usize,
        schedule: &LoadSchedule,
        outcome: &mut SocketOutcome,
    ) -> anyhow::Result<()> {
        let is_receiver = number % self.session_sockets == self.session_sockets - 1;
        let client = self.clients.get_mut(number).context("a socket")?;
        let last = self.last.get_mut(number / self.session_sockets).context("a session")?;
        let (work, first) = (self.work, self.first);
        let received = client.receive(&mut self.scratch, |text| {
            let message = match (work, text) {
                (SocketWork::Delivery, ServerText::Created(event)) if is_receiver => {
                    number_after(event, &TEXT_START)
                }
                (SocketWork::Acknowledgement, ServerText::Acknowledged(message, is_stored)) => {
                    outcome.refused += usize::from(!is_stored);
                    Some(message)
                }
                _ => None,
            };
            // What is late from a run before is not of this one.
            let Some(message) = message.filter(|message| *message >= first) else { return };
            outcome.answered += 1;
            let is_disordered = last.replace(message).is_some_and(|last| last >= message);
            outcome.disordered += usize::from(is_disordered);
            let due = schedule.due_of(message - first);
            if due >= schedule.measured_from() {
                outcome.latencies.add(due, Instant::now());
            }
        });
        received.context("the server closed a socket")
    }
}
