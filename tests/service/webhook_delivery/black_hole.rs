//! An endpoint that accepts connections and never answers: its deliveries wait in the log and in `outbox.db`, not in
//! memory, and other endpoints are not affected.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use amoiq_testkit::{
    SECRET_KEY, TestApp, http_client,
    process_figures::{MemoryWatch, resident_bytes},
    receivers::{AfterAnswer, RawReceiver, ReceiverRuntime, VerifyingReceiver},
};
use serde_json::json;

use crate::webhook_delivery::{
    chaos::reaches,
    endpoint::{Endpoint, start},
};

const MESSAGES: usize = 10_000;

/// Before the measurement, so that what the service keeps of any message has grown as far as it may.
const WARM_UP: usize = 3_000;

/// How many deliveries of one endpoint may wait, and how much memory sessions may take: little, so that both limits
/// are reached soon.
const PENDING: u64 = 4_000;
const SESSION_BYTES: u64 = 8 * 1_024 * 1_024;

const SESSIONS: usize = 100;
const SENDERS: usize = 8;

/// All texts together are more than twice the memory that is allowed.
const TEXT_BYTES: usize = 8_000;
const MOST_BYTES: u64 = 32 * 1_024 * 1_024;

#[test]
fn a_client_that_never_reads_costs_little_memory_and_slows_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = start(
        directory.path(),
        &format!("pending_per_endpoint = {PENDING}"),
        &format!("[sessions]\nmax_memory_bytes = {SESSION_BYTES}"),
    );
    let ground = ReceiverRuntime::new();
    let hole = ground.run(RawReceiver::answering("", AfterAnswer::Silence));
    let neighbour = VerifyingReceiver::open(&ground);
    let heard = Endpoint::of(&app, SECRET_KEY, &neighbour);
    send(&app, WARM_UP);
    reaches("the neighbour hears everything", WARM_UP, || neighbour.taken());
    let (endpoint, _) = Endpoint::make(&app, SECRET_KEY, &hole.url());
    let before = resident_bytes(app.pid()).expect("a process");
    let watch = MemoryWatch::start(app.pid());
    send(&app, MESSAGES);
    reaches("the neighbour hears everything", WARM_UP + MESSAGES, || neighbour.taken());
    let grown = watch.stop().saturating_sub(before);
    eprintln!("{} MiB before, {} KiB more", before >> 20, grown >> 10);
    assert!(grown < MOST_BYTES, "{grown} bytes");
    heard.settles(&app);
    let standing = &endpoint.read(&app)["standing"];
    assert!(standing["pending"].as_u64() <= Some(PENDING), "{standing}");
    assert!(standing["lagEvents"].as_u64() > Some(PENDING), "{standing}");
    assert!(hole.requests().len() < 100, "it is called again and again");
}

fn send(app: &TestApp, messages: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let client = http_client();
                let text = "x".repeat(TEXT_BYTES);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= messages {
                        return;
                    }
                    let session = format!("session-of-many-{}", number % SESSIONS);
                    let sending = client.post(format!("{}/webchat/message", app.address()));
                    let body = json!({"sessionId": session, "text": text});
                    let answer = sending.bearer_auth(SECRET_KEY).json(&body).send().expect("an answer");
                    assert_eq!(answer.status(), 200);
                }
            });
        }
    });
}
