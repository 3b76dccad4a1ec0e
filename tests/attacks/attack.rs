//! The attacks, and the environment in which each runs: the real program, a well-behaved pair that it serves in the
//! meantime, and a watch on its memory.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use amoiq_testkit::{
    AppLauncher, TestApp,
    process_figures::{MemoryWatch, open_files, processor_ticks, resident_bytes},
};
use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::{
    connection_attacks, flood_attacks, frame_attacks, polling_attacks, slow_attacks,
    well_behaved_pair::{LatencyFigures, WellBehavedPair},
};

/// How much memory an attack may cost beyond its connections and messages.
const GROWTH_BYTES: u64 = 64 * 1024 * 1024;

/// The memory of one open connection in a debug build: twice that in a release build.
const CONNECTION_BYTES: u64 = 32 * 1024;

/// What may wait for a client that does not read (`realtime.outbox_bytes`).
const OUTBOX_BYTES: u64 = 1024 * 1024;

/// The memory of a message: sessions and the log keep the newest ones.
const MESSAGE_BYTES: u64 = 1_024;

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// A frame that declares eight gigabytes, and its payload until the connection breaks.
    HugeFrame,
    /// A message in a million fragments.
    Fragments,
    /// Small frames, sent faster than they can be handled.
    Hurry,
    /// Frames that are not UTF-8.
    InvalidUtf8,
    /// Deep JSON and wide JSON.
    Json,
    /// Connections that never send CONNECT.
    Mute,
    /// Peers that acknowledge nothing any more.
    HalfOpen,
    /// Clients that never read while others send messages.
    NeverReads,
    /// Clients that send requests and never read the answers.
    NeverReadsAnswers,
    /// Requests that arrive one byte at a time: heads, and bodies of polls and messages.
    Drip,
    /// Upgrades that are never finished.
    AbandonedUpgrades,
    /// A poll every millisecond.
    PollStorm,
    /// Incomplete second requests on more connections than there are descriptors.
    HalfHeads,
    /// Websockets on every descriptor for clients.
    AllBusy,
    /// Clients that keep the service waiting, in every state.
    SlowClients,
    /// More connections than one address may have.
    OneAddress,
    /// Sessions that are filled with long messages.
    Fill,
}

/// The size of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttackScale {
    /// For a debug build, in seconds.
    Test,
    /// Full size.
    Full,
}

impl AttackScale {
    pub fn of(self, test: usize, full: usize) -> usize {
        match self {
            Self::Test => test,
            Self::Full => full,
        }
    }
}

/// What an attack runs in.
pub struct AttackEnvironment {
    pub server: TestApp,
    pub pair: WellBehavedPair,
    pub scale: AttackScale,
    /// Open files of the service before the attack.
    files: usize,
}

/// What an attack did.
#[derive(Debug, Default)]
pub struct AttackOutcome {
    /// The most connections that it had open.
    pub connections: usize,
    /// How many of these do not read.
    pub not_reading: usize,
    /// Messages that it sent to others.
    pub messages: u64,
}

impl AttackOutcome {
    /// An attack that only opens connections.
    pub fn of(connections: usize) -> Self {
        Self { connections, ..Self::default() }
    }

    /// By how much the memory of the service may grow.
    fn allowed_bytes(&self) -> u64 {
        GROWTH_BYTES
            + CONNECTION_BYTES * self.connections as u64
            + OUTBOX_BYTES * self.not_reading as u64
            + MESSAGE_BYTES * self.messages
    }
}

/// The figures of an attack.
#[derive(Debug)]
pub struct AttackReport {
    pub latency: LatencyFigures,
    pub grew_bytes: u64,
    pub allowed_bytes: u64,
    pub processor_ticks: u64,
    pub took: Duration,
}

impl fmt::Display for AttackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
        let (grew, allowed) = (mebibytes(self.grew_bytes), mebibytes(self.allowed_bytes));
        let (processor, took) = (self.processor_ticks as f64 / 100.0, self.took.as_secs_f64());
        write!(
            f,
            "{}  RSS +{grew:>5.1} of {allowed:>5.0} MiB  cpu {processor:>5.2} s in {took:>5.1} s",
            self.latency
        )
    }
}

impl Attack {
    /// Runs it against a program.
    ///
    /// # Errors
    /// When the service does not withstand the attack, does not serve the pair in full, uses too much memory, or
    /// panics.
    pub fn attempt(self, program: &Path, scale: AttackScale) -> anyhow::Result<AttackReport> {
        let server = start(program, self.settings(), self.files());
        let (pid, pair) = (server.pid(), WellBehavedPair::start(server.socket_address())?);
        let before = (resident_bytes(pid)?, processor_ticks(pid)?, tokio::time::Instant::now());
        let environment = Arc::new(AttackEnvironment { files: open_files(pid)?, server, pair, scale });
        let memory = MemoryWatch::start(pid);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on(self.run(&environment))?;
        environment.pair.wait_for(20)?;
        let (peak, ticks, took) = (memory.stop(), processor_ticks(pid)? - before.1, before.2.elapsed());
        drop(runtime);
        let AttackEnvironment { server, pair, .. } =
            Arc::into_inner(environment).context("a client is still connected")?;
        let experience = pair.stop()?;
        let received = experience.received;
        ensure!(received.other_messages == outcome.messages, "{} were sent: {received:?}", outcome.messages);
        ensure!(received.lists == 0, "a list that nobody asked for: {received:?}");
        ensure!(server.printed_times(&["panicked"]) == 0, "the service panicked");
        let report = AttackReport {
            latency: LatencyFigures::of(experience.round_trips.iter().map(|(_, took)| *took)),
            grew_bytes: peak.saturating_sub(before.0),
            allowed_bytes: outcome.allowed_bytes(),
            processor_ticks: ticks,
            took,
        };
        ensure!(report.grew_bytes <= report.allowed_bytes, "too much memory: {report}");
        Ok(report)
    }

    async fn run(self, environment: &AttackEnvironment) -> anyhow::Result<AttackOutcome> {
        match self {
            Self::HugeFrame => frame_attacks::huge(environment).await,
            Self::Fragments => frame_attacks::fragments(environment).await,
            Self::Hurry => flood_attacks::hurry(environment).await,
            Self::InvalidUtf8 => frame_attacks::invalid_utf8(environment).await,
            Self::Json => frame_attacks::json(environment).await,
            Self::Mute => slow_attacks::mute(environment).await,
            Self::HalfOpen => slow_attacks::half_open(environment).await,
            Self::NeverReads => flood_attacks::never_reads(environment).await,
            Self::NeverReadsAnswers => flood_attacks::never_reads_answers(environment).await,
            Self::Drip => slow_attacks::drip(environment).await,
            Self::AbandonedUpgrades => polling_attacks::abandoned_upgrades(environment).await,
            Self::PollStorm => polling_attacks::storm(environment).await,
            Self::HalfHeads => connection_attacks::partial_heads(environment).await,
            Self::AllBusy => connection_attacks::all_busy(environment).await,
            Self::SlowClients => connection_attacks::slow_clients(environment).await,
            Self::OneAddress => match connection_attacks::own_address() {
                Some(own) => connection_attacks::one_address(environment, own).await,
                // The machine has no other network.
                None => Ok(AttackOutcome::default()),
            },
            Self::Fill => flood_attacks::fill(environment).await,
        }
    }

    /// Settings that make the service end connections soon.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Mute => &[("AMOIQ__REALTIME__CONNECT_TIMEOUT_MS", "4000")],
            Self::HalfOpen | Self::AbandonedUpgrades | Self::PollStorm => &[
                ("AMOIQ__REALTIME__PING_INTERVAL_MS", "1500"),
                ("AMOIQ__REALTIME__PING_TIMEOUT_MS", "1500"),
                ("AMOIQ__PRESENCE__OFFLINE_GRACE_MS", "0"),
            ],
            Self::OneAddress => &[
                ("AMOIQ__OPERATOR__BIND", "0.0.0.0:0"),
                ("AMOIQ__SERVER__CONNECTIONS_PER_IP", connection_attacks::ALLOWED_TEXT),
            ],
            // The attack writes 50 MB of text.
            Self::Fill => &[("AMOIQ__SESSIONS__MAX_MEMORY_BYTES", "8388608")],
            _ => &[],
        }
    }

    /// How many files the service may open, if not as many as this process.
    fn files(self) -> Option<usize> {
        match self {
            Self::HalfHeads => Some(connection_attacks::FILES),
            Self::AllBusy => Some(connection_attacks::FEW_FILES),
            _ => None,
        }
    }
}

/// Starts the program with settings (`AMOIQ__…`, value), without rate limits, and with a limit of open files if one is
/// given.
pub fn start(program: &Path, settings: &[(&str, &str)], files: Option<usize>) -> TestApp {
    let launcher = AppLauncher::of(program)
        .environment("AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND", "0")
        .environment("AMOIQ__REALTIME__CONNECTIONS_PER_IP", "0")
        // At this level each connection logs why it ended.
        .environment("AMOIQ__LOG__LEVEL", "info,amoiq_socketio::engine=debug")
        .settings(settings);
    match files {
        Some(files) => launcher.wrapped_in(&["prlimit", &format!("--nofile={files}:{files}")]).start(),
        None => launcher.start(),
    }
}

impl AttackEnvironment {
    /// Waits until the service has as many files open as before, or a few more of its own.
    pub async fn all_sockets_are_closed(&self, limit: Duration) -> anyhow::Result<()> {
        self.eventually("every socket is closed", limit, || {
            Ok(open_files(self.server.pid())? <= self.files + 4)
        })
        .await
    }

    /// Waits for a condition.
    pub async fn eventually(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + limit;
        while !condition()? {
            ensure!(tokio::time::Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
