//! Two well-behaved clients that others must not disturb: a visitor who sends a message and waits for its echo, and an
//! admin who gets it.
//!
//! They run on a thread of their own, so that they do not wait for the attackers. Every message has a number; one that is
//! missing, late, doubled or out of order is an error of [`WellBehavedPair::stop`].

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tokio::time::{Instant, sleep, timeout};

use crate::raw_client::{RawClient, TIMEOUT, message};

const SESSION: &str = "session-of-the-well-behaved";

/// The pause before each message.
const PAUSE: Duration = Duration::from_millis(5);

/// The pair at work.
pub struct WellBehavedPair {
    is_over: Arc<AtomicBool>,
    said: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<PairReport>>,
}

/// What the two observed.
#[derive(Debug, Default)]
pub struct PairReport {
    /// When each message was sent, and how long it took to come back.
    pub round_trips: Vec<(Instant, Duration)>,
    /// The events that the admin got.
    pub received: EventCounts,
}

/// The events that an admin got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    pub own_messages: u64,
    pub other_messages: u64,
    pub online: u64,
    pub offline: u64,
    /// Nobody requests one.
    pub lists: u64,
}

impl WellBehavedPair {
    /// Connects both and starts them. The admin connects first, so it misses nothing.
    pub fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let (is_over, said) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&said));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let admin = RawClient::admin(address).await.context("the admin")?;
                let visitor = RawClient::visitor(address, 1).await.context("the visitor")?;
                let (round_trips, received) =
                    tokio::try_join!(talk(visitor, &over, &count), listen(admin, &over, &count))?;
                Ok(PairReport { round_trips, received })
            })
        });
        let pair = Self { is_over, said, thread };
        pair.wait_for(20)?;
        Ok(pair)
    }

    /// Waits until so many more messages came back.
    pub fn wait_for(&self, more: u64) -> anyhow::Result<()> {
        let (until, deadline) = (self.said.load(SeqCst) + more, std::time::Instant::now() + TIMEOUT);
        while self.said.load(SeqCst) < until && !self.thread.is_finished() {
            ensure!(std::time::Instant::now() < deadline, "the pair is not served");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets them finish. Returns what they observed.
    pub fn stop(self) -> anyhow::Result<PairReport> {
        self.is_over.store(true, SeqCst);
        match self.thread.join() {
            Ok(experience) => experience.context("the well-behaved pair"),
            Err(_panicked) => bail!("the pair panicked"),
        }
    }
}

async fn talk(
    mut visitor: RawClient,
    over: &AtomicBool,
    count: &AtomicU64,
) -> anyhow::Result<Vec<(Instant, Duration)>> {
    let mut round_trips = Vec::new();
    for number in 0.. {
        if over.load(SeqCst) {
            break;
        }
        let sent = Instant::now();
        visitor.send_text(&message(SESSION, &format!("pair-{number}"))).await?;
        let back = loop {
            let text = visitor.text().await.with_context(|| format!("the visitor waits for {number}"))?;
            ensure!(!text.starts_with("42[\"error\""), "refused: {text}");
            if let Some(back) = number_of(&text) {
                break back;
            }
        };
        ensure!(back == number, "the visitor got {back} instead of {number}");
        round_trips.push((sent, sent.elapsed()));
        count.store(number + 1, SeqCst);
        sleep(PAUSE).await;
    }
    Ok(round_trips)
}

async fn listen(mut admin: RawClient, over: &AtomicBool, count: &AtomicU64) -> anyhow::Result<EventCounts> {
    let mut received = EventCounts::default();
    let mut ends_by = None;
    loop {
        if over.load(SeqCst) {
            let deadline = *ends_by.get_or_insert_with(|| Instant::now() + TIMEOUT);
            if received.own_messages >= count.load(SeqCst) {
                return Ok(received);
            }
            ensure!(Instant::now() < deadline, "the admin did not get every message");
        }
        // Checks now and then whether it is over.
        let Ok(text) = timeout(Duration::from_millis(100), admin.text()).await else { continue };
        let text = text.context("the admin")?;
        match (text.split('"').nth(1), number_of(&text)) {
            (_, Some(number)) => {
                ensure!(
                    number == received.own_messages,
                    "the admin got {number}, not {}",
                    received.own_messages
                );
                received.own_messages += 1;
            }
            (Some("meta_message_created"), None) => received.other_messages += 1,
            (Some("user_online"), _) => received.online += 1,
            (Some("user_offline"), _) => received.offline += 1,
            (Some("online_users_list"), _) => received.lists += 1,
            (Some(name), _) if name.starts_with("conversation:") => {}
            _ => bail!("the admin does not expect {text}"),
        }
    }
}

/// Which message of the pair this is.
fn number_of(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("\"text\":\"pair-")?;
    rest.split('"').next()?.parse().ok()
}

/// Percentiles of some durations.
#[derive(Debug, Clone, Copy)]
pub struct LatencyFigures {
    pub count: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl LatencyFigures {
    /// Without durations all figures are zero.
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort_unstable();
        let at = |hundredth: usize| {
            let place = (sorted.len() * hundredth).div_ceil(100).saturating_sub(1);
            sorted.get(place).copied().unwrap_or_default()
        };
        Self { count: sorted.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for LatencyFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        let (p50, p99, max) = (millis(self.p50), millis(self.p99), millis(self.max));
        write!(f, "{:>6} messages  p50 {p50:>6.2} ms  p99 {p99:>6.2} ms  max {max:>7.2} ms", self.count)
    }
}
