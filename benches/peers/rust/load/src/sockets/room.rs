//! One room with many listeners: how fast everybody has everything, and whether in order.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::Context;
use memchr::memmem::Finder;

use super::client::{ServerText, SocketClient, message_template, open_all, session_name};
use crate::{
    arguments::LoadArguments,
    connection,
    latencies::LatencyRecord,
    poller::SocketPoller,
    report::ReportLine,
    schedule::run_name,
    server_figures::ServerProcesses,
    template::{decimal_after, number_after},
};

/// How long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(10);

static TEXT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(super::TEXT));
static SEQ: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(r#""seq":"#));

/// What all listeners together have.
struct RoomProgress {
    /// When each message was sent.
    sent: Vec<Instant>,
    /// How many listeners have each message.
    delivered: Vec<u32>,
    /// Messages that all have, in the order in which they were sent.
    complete: usize,
    /// The `seq` of the last message that each listener got.
    last: Vec<Option<u64>>,
    deliveries: usize,
    disordered: usize,
    refused: usize,
    latencies: LatencyRecord,
}

/// Runs the measurement and prints it. The first socket sends the next message as long as at most `window` messages are not
/// everywhere yet; it listens too.
pub fn run(arguments: &LoadArguments) -> anyhow::Result<()> {
    let (listeners, messages) = (arguments.value("sockets", 1_000)?, arguments.value("messages", 500)?);
    let window = arguments.value("window", 16)?;
    let servers = ServerProcesses::new(arguments.all("pid")?);
    let (run, mut scratch) = (run_name(), connection::scratch());
    let names = vec![session_name(&run, 0); listeners];
    let mut clients = open_all(&arguments.addresses()?, &names, &mut scratch)?;
    let mut poller = SocketPoller::new()?;
    for (number, client) in clients.iter().enumerate() {
        poller.add(client.connection().stream(), number)?;
    }
    let mut template = message_template(&run, true);
    let mut progress = RoomProgress::new(listeners, messages);
    let usage = servers.measure()?;
    let mut last_arrival = Instant::now();
    while progress.complete < messages && last_arrival.elapsed() < PATIENCE {
        let speaker = clients.first_mut().context("a socket")?;
        for number in progress.sent.len()..messages.min(progress.complete + window) {
            progress.sent.push(Instant::now());
            speaker.send(template.fill(number as u64, 0))?;
        }
        let ready = poller.wait(Duration::from_millis(100))?;
        if ready > 0 {
            last_arrival = Instant::now();
        }
        for place in 0..ready {
            let number = poller.ready(place).context("a socket")?;
            let client = clients.get_mut(number).context("a socket")?;
            progress.receive(client, number, &mut scratch)?;
        }
    }
    let (figures, deliveries) = (usage.figures()?, progress.deliveries);
    ReportLine::new(&arguments.kind)
        .field("listeners", listeners)
        .field("messages", progress.sent.len())
        .field("failed", progress.refused + listeners * messages - deliveries.min(listeners * messages))
        .field("disordered", progress.disordered)
        .latencies(&mut progress.latencies, figures.elapsed)
        .usage(figures, &servers, deliveries)?
        .print();
    Ok(())
}

impl RoomProgress {
    fn new(listeners: usize, messages: usize) -> Self {
        Self {
            sent: Vec::with_capacity(messages),
            delivered: vec![0; messages],
            complete: 0,
            last: vec![None; listeners],
            deliveries: 0,
            disordered: 0,
            refused: 0,
            latencies: LatencyRecord::with_capacity(listeners * messages),
        }
    }

    fn receive(
        &mut self,
        client: &mut SocketClient,
        number: usize,
        scratch: &mut [u8],
    ) -> anyhow::Result<()> {
        let received = client.receive(scratch, |text| match text {
            ServerText::Created(event) => {
                let message = number_after(event, &TEXT).and_then(|message| usize::try_from(message).ok());
                if let (Some(message), Some(seq)) = (message, decimal_after(event, &SEQ)) {
                    self.deliver(number, message, seq);
                }
            }
            ServerText::Acknowledged(_, is_stored) => self.refused += usize::from(!is_stored),
        });
        received.context("the server closed a socket")
    }

    fn deliver(&mut self, listener: usize, message: usize, seq: u64) {
        let (Some(last), Some(delivered)) = (self.last.get_mut(listener), self.delivered.get_mut(message))
        else {
            return;
        };
        self.disordered += usize::from(last.replace(seq).is_some_and(|last| last + 1 != seq));
        *delivered += 1;
        self.deliveries += 1;
        if let Some(sent) = self.sent.get(message) {
            self.latencies.add(*sent, Instant::now());
        }
        let listeners = u32::try_from(self.last.len()).unwrap_or(u32::MAX);
        while self.delivered.get(self.complete).is_some_and(|count| *count == listeners) {
            self.complete += 1;
        }
    }
}
