//! The attacks, and the stage on which each is tried: the real program, a well-behaved pair that is
//! served all the while, and an eye on the process's memory.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use amoiq_testkit::{
    AppLauncher, TestApp,
    process_figures::{MemoryWatch, open_files, processor_ticks, resident_bytes},
};
use anyhow::{Context, ensure};
use clap::ValueEnum;

use crate::{connections, filling, flood, frames, latency::Latency, pair::Pair, patience, polls, silence};

/// What an attack may cost beside what its connections and messages are worth.
const GROWTH_BYTES: u64 = 64 * 1024 * 1024;

/// What one open connection may cost: twice what it does in a release build, for a debug build.
const CONNECTION_BYTES: u64 = 32 * 1024;

/// What a client that does not read may leave waiting for it (`realtime.outbox_bytes`).
const OUTBOX_BYTES: u64 = 1024 * 1024;

/// What a message may take after it was said: sessions and the log keep the newest in memory.
const MESSAGE_BYTES: u64 = 1_024;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// A frame that declares eight gigabytes, and its payload until the connection breaks.
    HugeFrame,
    /// A message in a million pieces.
    Fragments,
    /// Small frames, faster than they can be handled.
    Hurry,
    /// Frames that are not UTF-8.
    InvalidUtf8,
    /// JSON that is deep, and JSON that is wide.
    Json,
    /// Connections that never say who they are.
    Mute,
    /// Peers that acknowledge nothing any more.
    HalfOpen,
    /// A client that never reads while others talk.
    NeverReads,
    /// A client that asks and never reads the answers.
    NeverReadsAnswers,
    /// Heads of requests, and bodies of polls and messages, a byte at a time.
    Drip,
    /// Upgrades that are never finished.
    AbandonedUpgrades,
    /// A poll every millisecond.
    PollStorm,
    /// Second requests that stop half-way, on more connections than there are descriptors.
    HalfHeads,
    /// Websockets on every descriptor that there is for clients.
    AllBusy,
    /// Clients that the service waits for, in every state that there is.
    SlowClients,
    /// More connections than one address may have.
    OneAddress,
    /// Sessions that are filled with long messages and left.
    Fill,
}

/// How large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// For a debug build, in seconds.
    Test,
    /// As large as it is meant.
    Full,
}

impl Scale {
    pub fn of(self, test: usize, full: usize) -> usize {
        match self {
            Self::Test => test,
            Self::Full => full,
        }
    }
}

/// What an attack needs.
pub struct Stage {
    pub server: TestApp,
    pub pair: Pair,
    pub scale: Scale,
    /// Files that were open before.
    files: usize,
}

/// What an attack did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The most connections that it had open.
    pub connections: usize,
    /// Those of them that do not read.
    pub deaf: usize,
    /// Messages that it made others hear.
    pub messages: u64,
}

impl Outcome {
    /// With so many connections, and nothing else to tell.
    pub fn of(connections: usize) -> Self {
        Self { connections, ..Self::default() }
    }

    /// By how much memory may grow.
    fn allowed_bytes(&self) -> u64 {
        GROWTH_BYTES
            + CONNECTION_BYTES * self.connections as u64
            + OUTBOX_BYTES * self.deaf as u64
            + MESSAGE_BYTES * self.messages
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub latency: Latency,
    pub grew_bytes: u64,
    pub allowed_bytes: u64,
    pub processor_ticks: u64,
    pub took: Duration,
}

impl fmt::Display for Report {
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
    /// Tries it against a program.
    ///
    /// # Errors
    /// When the attack is not fended off as it should be, the pair was not served in full, the process
    /// took too much memory, or something in it panicked.
    pub fn attempt(self, program: &Path, scale: Scale) -> anyhow::Result<Report> {
        let server = start(program, self.settings(), self.files());
        let (pid, pair) = (server.pid(), Pair::start(server.socket_address())?);
        let before = (resident_bytes(pid)?, processor_ticks(pid)?, tokio::time::Instant::now());
        let stage = Arc::new(Stage { files: open_files(pid)?, server, pair, scale });
        let memory = MemoryWatch::start(pid);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on(self.run(&stage))?;
        stage.pair.wait_for(20)?;
        let (peak, ticks, took) = (memory.stop(), processor_ticks(pid)? - before.1, before.2.elapsed());
        drop(runtime);
        let Stage { server, pair, .. } = Arc::into_inner(stage).context("a client is still there")?;
        let experience = pair.stop()?;
        let heard = experience.heard;
        ensure!(heard.other_messages == outcome.messages, "{} were said: {heard:?}", outcome.messages);
        ensure!(heard.lists == 0, "a list that nobody asked for: {heard:?}");
        ensure!(server.printed_times(&["panicked"]) == 0, "something panicked");
        let report = Report {
            latency: Latency::of(experience.round_trips.iter().map(|(_, took)| *took)),
            grew_bytes: peak.saturating_sub(before.0),
            allowed_bytes: outcome.allowed_bytes(),
            processor_ticks: ticks,
            took,
        };
        ensure!(report.grew_bytes <= report.allowed_bytes, "too much memory: {report}");
        Ok(report)
    }

    async fn run(self, stage: &Stage) -> anyhow::Result<Outcome> {
        match self {
            Self::HugeFrame => frames::huge(stage).await,
            Self::Fragments => frames::fragments(stage).await,
            Self::Hurry => flood::hurry(stage).await,
            Self::InvalidUtf8 => frames::invalid_utf8(stage).await,
            Self::Json => frames::json(stage).await,
            Self::Mute => silence::mute(stage).await,
            Self::HalfOpen => silence::half_open(stage).await,
            Self::NeverReads => flood::never_reads(stage).await,
            Self::NeverReadsAnswers => flood::never_reads_answers(stage).await,
            Self::Drip => patience::drip(stage).await,
            Self::AbandonedUpgrades => polls::abandoned_upgrades(stage).await,
            Self::PollStorm => polls::storm(stage).await,
            Self::HalfHeads => connections::half_heads(stage).await,
            Self::AllBusy => connections::all_busy(stage).await,
            Self::SlowClients => connections::slow_clients(stage).await,
            Self::OneAddress => match connections::own_address() {
                Some(own) => connections::one_address(stage, own).await,
                // Nobody can come from another network.
                None => Ok(Outcome::default()),
            },
            Self::Fill => filling::fill(stage).await,
        }
    }

    /// What is set otherwise so that an end comes soon. `Stage` waits for it.
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
                ("AMOIQ__SERVER__CONNECTIONS_PER_IP", connections::ALLOWED_TEXT),
            ],
            // 50 MB of text are written. Half of what an attack may cost beside its connections is for these.
            Self::Fill => &[("AMOIQ__SESSIONS__MAX_MEMORY_BYTES", "8388608")],
            _ => &[],
        }
    }

    /// How many files the service may have open, if not as many as this process.
    fn files(self) -> Option<usize> {
        match self {
            Self::HalfHeads => Some(connections::FILES),
            Self::AllBusy => Some(connections::FEW_FILES),
            _ => None,
        }
    }
}

/// Starts the program with settings (`AMOIQ__…`, value), without rate limits of its own, and with a limit of
/// open files if one is given.
pub fn start(program: &Path, settings: &[(&str, &str)], files: Option<usize>) -> TestApp {
    let launcher = AppLauncher::of(program)
        .environment("AMOIQ__RATE_LIMIT__SOCKET_PER_SECOND", "0")
        .environment("AMOIQ__REALTIME__CONNECTIONS_PER_IP", "0")
        // Why a connection ended is a line of its own there.
        .environment("AMOIQ__LOG__LEVEL", "info,amoiq_socketio::engine=debug")
        .settings(settings);
    match files {
        Some(files) => launcher.wrapped_in(&["prlimit", &format!("--nofile={files}:{files}")]).start(),
        None => launcher.start(),
    }
}

impl Stage {
    /// Waits until the process has no more files open than before, but for a few of its own.
    pub async fn all_sockets_are_closed(&self, patience: Duration) -> anyhow::Result<()> {
        self.eventually("every socket is closed", patience, || {
            Ok(open_files(self.server.pid())? <= self.files + 4)
        })
        .await
    }

    /// Waits for a condition.
    pub async fn eventually(
        &self,
        what: &str,
        patience: Duration,
        condition: impl Fn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + patience;
        while !condition()? {
            ensure!(tokio::time::Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
