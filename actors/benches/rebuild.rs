//! How fast the inbox is rebuilt from a long log, and with how much memory.
//!
//! `cargo bench -p amoiq-actors --bench rebuild` writes a log of a million events and rebuilds the inbox
//! from it, twice: sessions of 20 messages of which 1,000 are live at a time, and messages to sessions at
//! random. `AMOIQ_BENCH_EVENTS` is how many events; ten million take some 5 GB. `AMOIQ_BENCH_DIR` chooses
//! the file system, and `AMOIQ_BENCH_ONLY` one of `live`, `random`. Memory is the whole process's: before a
//! rebuild, and at its most while it runs.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::expect_used, reason = "a benchmark that cannot go on says why and stops")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use amoiq_actors::{
    inbox::InboxProjection,
    projections::{RebuildReport, ViewStore, rebuild},
};
use amoiq_events::{
    Ambient, ClientMessageId, Event, EventLog, MessageText, NewEvent, SessionId, StreamName, TenantId,
    event::EventCause,
    session::{ConversationStarted, MessageCreated, MessageSender, SessionEvent, SessionStarted},
    store::{ExpectedVersion, OpenedStore as _, sqlite::SqliteStore},
};
use tokio::sync::watch;

/// Events of a session before its messages.
const OPENING: u64 = 2;

/// Messages of a session, and how many sessions are live at a time.
const MESSAGES: u64 = 20;
const LIVE: u64 = 1_000;

/// Appends that wait for the writer together.
const WAITING: usize = 4_096;

fn main() {
    // `cargo test --all-targets` runs this too; it has nothing to test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let events: u64 =
        std::env::var("AMOIQ_BENCH_EVENTS").map_or(1_000_000, |text| text.parse().expect("a number"));
    let only = std::env::var("AMOIQ_BENCH_ONLY").ok();
    let parent = std::env::var_os("AMOIQ_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (shape, is_random) in [("live", false), ("random", true)] {
        if only.as_deref().is_none_or(|only| only == shape) {
            let directory = tempfile::tempdir_in(&parent).expect("a directory to measure in");
            runtime.block_on(measure(shape, is_random, events, directory.path()));
        }
    }
}

async fn measure(shape: &str, is_random: bool, events: u64, directory: &Path) {
    let ambient = Ambient::system();
    let store = SqliteStore::open(directory, &ambient).expect("a store");
    let since = Instant::now();
    write(&store, &ambient, is_random, events).await;
    store.close();
    drop(store);
    println!("{shape}: {events} events written in {:.0} s", since.elapsed().as_secs_f64());
    for round in 1..=2 {
        let since = Instant::now();
        let store: Arc<dyn EventLog> = Arc::new(SqliteStore::open(directory, &ambient).expect("a store"));
        let views = ViewStore::open(&directory.join("views.db")).expect("views.db");
        let opened = since.elapsed();
        forget_peak();
        let held = peak_kib();
        let (report, _) = watch::channel(RebuildReport::started(store.head()));
        let (since, before) = (Instant::now(), processor_time());
        rebuild::<InboxProjection>(&views, &store, None, &report).await.expect("a rebuild");
        let (took, used) = (since.elapsed(), processor_time() - before);
        println!(
            "{shape}, round {round}: open {:.0} ms; rebuild {:.1} s, {:.0} events/s; processor {:.1} s; memory {} to {} MiB; views.db {} MiB",
            opened.as_secs_f64() * 1_000.0,
            took.as_secs_f64(),
            rate(events, took),
            used.as_secs_f64(),
            held / 1_024,
            peak_kib() / 1_024,
            fs::metadata(directory.join("views.db")).map_or(0, |file| file.len()) / 1_048_576,
        );
    }
}

async fn write(store: &SqliteStore, ambient: &Ambient, is_random: bool, events: u64) {
    let each = OPENING + MESSAGES;
    let sessions = (events / each).max(1);
    let mut waiting = std::collections::VecDeque::new();
    for number in 0..events {
        // In no order, but the same in every run.
        let random =
            (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d);
        let (session, step) = if is_random {
            (random % sessions, number / sessions)
        } else {
            let wave = number / (LIVE * each);
            (wave * LIVE + number % LIVE, (number % (LIVE * each)) / LIVE)
        };
        let stream = StreamName::session(&tenant(session), &name(session));
        let appended = store.append(stream, ExpectedVersion::Any, vec![event(ambient, step)]);
        waiting.push_back(appended);
        if waiting.len() >= WAITING {
            for appended in waiting.drain(..) {
                appended.await.expect("it is stored");
            }
        }
    }
    for appended in waiting {
        appended.await.expect("it is stored");
    }
}

fn tenant(session: u64) -> TenantId {
    TenantId::parse(&format!("tenant-{}", session % 20)).expect("an id")
}

/// Like random sessions: neighbours in time are not neighbours in the tables.
fn name(session: u64) -> SessionId {
    let spread = session.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SessionId::parse(&format!("{spread:016x}-{session:08x}")).expect("an id")
}

fn event(ambient: &Ambient, step: u64) -> NewEvent {
    let event = match step {
        0 => SessionEvent::Started(SessionStarted {}),
        1 => SessionEvent::ConversationStarted(ConversationStarted {
            conversation_id: ambient.event_id().into(),
        }),
        _ => SessionEvent::MessageCreated(MessageCreated {
            message_id: ambient.message_id(),
            seq: u32::try_from(step - 1).unwrap_or(u32::MAX),
            text: MessageText::parse("Hello, I have a question about my order of last week.", 1_000)
                .expect("a text"),
            sender: if step.is_multiple_of(2) { MessageSender::User } else { MessageSender::Agent },
            author: None,
            user_id: None,
            verified: None,
            claimed_user_id: None,
            sender_name: None,
            client_message_id: ClientMessageId::parse(&format!("client-{step}-0123456789")).ok(),
            client_timestamp: None,
            page: None,
            conversation_id: None,
        }),
    };
    let cause =
        EventCause { causation: "0197f1f0-1b5c-7000-8000-000000000000".into(), actor: "key-demo".into() };
    Event::Session(event).envelope(ambient, &cause)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn rate(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

/// The most memory that the process had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the process's own figures");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("a number of KiB")
}

fn forget_peak() {
    // Where that is not possible, earlier use counts too.
    drop(fs::write("/proc/self/clear_refs", "5"));
}

/// What all threads have used, as the kernel counts it: in hundredths of a second.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("the process's own figures");
    // The program's name is in parentheses, and may contain some itself.
    let (_, fields) = stat.rsplit_once(')').expect("the program's name");
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok()).expect("a number of ticks");
    let (user, system) = (ticks(), ticks());
    Duration::from_millis((user + system) * 10)
}
