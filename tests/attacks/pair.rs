//! Two well-behaved clients that others should not be able to disturb: a visitor who says something and
//! waits until it comes back, and an admin who hears it.
//!
//! They live on a thread of their own, so that they do not wait for the attackers' side. Every message
//! has a number; one that is missing, late, doubled or out of order is a failure that [`Pair::stop`]
//! tells.

use std::{
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

use crate::client::{Client, PATIENCE, message};

const SESSION: &str = "session-of-the-well-behaved";

/// How long the visitor thinks before each message.
const THINKING: Duration = Duration::from_millis(5);

/// The pair at work.
pub struct Pair {
    is_over: Arc<AtomicBool>,
    said: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<Experience>>,
}

/// What the two saw.
#[derive(Debug, Default)]
pub struct Experience {
    /// When each message was sent, and how long it took to come back.
    pub round_trips: Vec<(Instant, Duration)>,
    /// What the admin heard beside the pair's own messages.
    pub heard: Heard,
}

/// What an admin heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    pub own_messages: u64,
    pub other_messages: u64,
    pub online: u64,
    pub offline: u64,
    /// Nobody asked for one.
    pub lists: u64,
}

impl Pair {
    /// Connects both and lets them talk. The admin's own connection comes first: it misses nothing.
    pub fn start(address: SocketAddr) -> anyhow::Result<Self> {
        let (is_over, said) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&said));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let admin = Client::admin(address).await.context("the admin")?;
                let visitor = Client::visitor(address, 1).await.context("the visitor")?;
                let (round_trips, heard) =
                    tokio::try_join!(talk(visitor, &over, &count), listen(admin, &over, &count))?;
                Ok(Experience { round_trips, heard })
            })
        });
        let pair = Self { is_over, said, thread };
        pair.wait_for(20)?;
        Ok(pair)
    }

    /// Waits until so many more messages came back: a measure of time while it is well.
    pub fn wait_for(&self, more: u64) -> anyhow::Result<()> {
        let (until, deadline) = (self.said.load(SeqCst) + more, std::time::Instant::now() + PATIENCE);
        while self.said.load(SeqCst) < until && !self.thread.is_finished() {
            ensure!(std::time::Instant::now() < deadline, "the pair is not served");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Lets them finish, and tells what they saw.
    pub fn stop(self) -> anyhow::Result<Experience> {
        self.is_over.store(true, SeqCst);
        match self.thread.join() {
            Ok(experience) => experience.context("the well-behaved pair"),
            Err(_panicked) => bail!("the pair panicked"),
        }
    }
}

async fn talk(
    mut visitor: Client,
    over: &AtomicBool,
    count: &AtomicU64,
) -> anyhow::Result<Vec<(Instant, Duration)>> {
    let mut round_trips = Vec::new();
    for number in 0.. {
        if over.load(SeqCst) {
            break;
        }
        let sent = Instant::now();
        visitor.say(&message(SESSION, &format!("pair-{number}"))).await?;
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
        sleep(THINKING).await;
    }
    Ok(round_trips)
}

async fn listen(mut admin: Client, over: &AtomicBool, count: &AtomicU64) -> anyhow::Result<Heard> {
    let mut heard = Heard::default();
    let mut ends_by = None;
    loop {
        if over.load(SeqCst) {
            let deadline = *ends_by.get_or_insert_with(|| Instant::now() + PATIENCE);
            if heard.own_messages >= count.load(SeqCst) {
                return Ok(heard);
            }
            ensure!(Instant::now() < deadline, "the admin did not hear every message");
        }
        // Looks up now and then whether it is over.
        let Ok(text) = timeout(Duration::from_millis(100), admin.text()).await else { continue };
        let text = text.context("the admin")?;
        match (text.split('"').nth(1), number_of(&text)) {
            (_, Some(number)) => {
                ensure!(number == heard.own_messages, "the admin got {number}, not {}", heard.own_messages);
                heard.own_messages += 1;
            }
            (Some("meta_message_created"), None) => heard.other_messages += 1,
            (Some("user_online"), _) => heard.online += 1,
            (Some("user_offline"), _) => heard.offline += 1,
            (Some("online_users_list"), _) => heard.lists += 1,
            _ => bail!("the admin does not expect {text}"),
        }
    }
}

/// Which message of the pair this is.
fn number_of(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("\"text\":\"pair-")?;
    rest.split('"').next()?.parse().ok()
}
