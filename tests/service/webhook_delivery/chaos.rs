//! Order and completeness: receivers fail at random, and the program is killed while messages are sent. In the end
//! every endpoint has every message of its tenant, in order within a session, and nothing else.
//!
//! Sessions of different tenants have the same names, so that a mix-up would be seen.
//!
//! `AMOIQ_CHAOS_MESSAGES` and `AMOIQ_CHAOS_SESSIONS` make more than 2,000 messages in 100 sessions;
//! `AMOIQ_CHAOS_SEED` repeats the choices of a run.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use amoiq_events::{Ambient, ambient::SeededEntropy};
use amoiq_testkit::{
    PATIENCE, TestApp,
    receivers::{ReceiverRuntime, VerifyingReceiver},
};

use crate::webhook_delivery::endpoint::{Endpoint, start};

mod sender;
mod verdict;

use sender::{Plan, Sender};

const TENANTS: usize = 8;
const ENDPOINTS: usize = 20;
const SENDERS: usize = 8;
const KILLS: usize = 5;

/// Long enough that no delivery is given up, and short enough for the run.
const WAITS: usize = 400;

/// A tenant and its endpoints.
struct Tenant {
    number: usize,
    endpoints: Vec<(Endpoint, VerifyingReceiver)>,
}

fn tenant_id(number: usize) -> String {
    format!("tenant-{number}")
}

fn secret_key(number: usize) -> String {
    format!("sk_chaos_{number}_0000000000")
}

fn widget_key(number: usize) -> String {
    format!("wk_chaos_{number}_0000000000")
}

fn settings() -> (String, String) {
    let waits: Vec<_> =
        [0, 20, 50, 100].into_iter().chain([200; WAITS]).map(|wait| wait.to_string()).collect();
    let webhooks = format!(
        "schedule_ms = [{}]\nattempt_timeout_ms = 400\nbreaker_min_ms = 20\nbreaker_max_ms = 200",
        waits.join(", ")
    );
    let tenants = (0..TENANTS).map(|number| {
        format!(
            "[[tenants]]\nid = \"{}\"\nsecret_keys = [\"{}\"]\nwidget_keys = [\"{}\"]\n",
            tenant_id(number),
            secret_key(number),
            widget_key(number)
        )
    });
    (webhooks, tenants.collect())
}

#[test]
fn every_endpoint_receives_everything_of_its_tenant_in_order_whatever_happens() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let size = |name, usual| number(name).map_or(usual, |size| usize::try_from(size).expect("fits"));
    let (messages, sessions) = (size("AMOIQ_CHAOS_MESSAGES", 2_000), size("AMOIQ_CHAOS_SESSIONS", 100));
    let seed = number("AMOIQ_CHAOS_SEED")
        .unwrap_or_else(|| u64::from_le_bytes(Ambient::system().bytes()) % 1_000_000);
    eprintln!("AMOIQ_CHAOS_SEED={seed} AMOIQ_CHAOS_MESSAGES={messages} AMOIQ_CHAOS_SESSIONS={sessions}");
    let dice = SeededEntropy::new(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let (webhooks, rest) = settings();
    let start = || start(directory.path(), &webhooks, &rest);
    let mut app = start();
    let tenants = tenants(&app, &ReceiverRuntime::new(), &dice);
    let plan = Plan::new(messages, sessions);
    let mut senders: Vec<_> = (0..SENDERS).map(|sender| Sender::new(sender, dice.next())).collect();
    for kill in 0..KILLS {
        // At a random moment, and not just after an answer.
        let part = messages / (KILLS + 1);
        let wanted = kill * part + 1 + usize::try_from(dice.next()).unwrap_or_default() % part;
        let moment = Duration::from_micros(dice.next() % 20_000);
        let address = app.address().to_owned();
        plan.is_killed.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            for sender in &mut senders {
                scope.spawn(|| sender.send(&address, &plan, &tenants));
            }
            reaches("messages are acknowledged", wanted, || plan.sent());
            thread::sleep(moment);
            app.kill();
            plan.is_killed.store(true, Ordering::Relaxed);
        });
        app = start();
        eprintln!("kill {kill}: {} sent, {} delivered", plan.sent(), delivered(&tenants));
    }
    let address = app.address().to_owned();
    plan.is_killed.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        for sender in &mut senders {
            scope.spawn(|| sender.send(&address, &plan, &tenants));
        }
        reaches("messages are acknowledged", messages, || plan.sent());
    });
    tenants.iter().flat_map(|tenant| &tenant.endpoints).for_each(|(_, mailbox)| mailbox.calm());
    verdict::give(&app, &tenants, &senders, sessions);
}

/// Tenants with two or three wild endpoints each.
fn tenants(app: &TestApp, ground: &ReceiverRuntime, dice: &SeededEntropy) -> Vec<Tenant> {
    let mut tenants: Vec<_> = (0..TENANTS).map(|number| Tenant { number, endpoints: Vec::new() }).collect();
    for place in 0..ENDPOINTS {
        let tenant = &mut tenants[place % TENANTS];
        let mailbox = VerifyingReceiver::wild(ground, SeededEntropy::new(dice.next()));
        let endpoint = Endpoint::of(app, &secret_key(tenant.number), &mailbox);
        tenant.endpoints.push((endpoint, mailbox));
    }
    tenants
}

/// The deliveries that were taken, without repeats.
fn delivered(tenants: &[Tenant]) -> usize {
    tenants.iter().flat_map(|tenant| &tenant.endpoints).map(|(_, mailbox)| mailbox.taken()).sum()
}

/// Waits until a growing number has reached a value.
pub fn reaches(what: &str, goal: usize, number: impl Fn() -> usize) {
    let (mut last, mut since) = (number(), Instant::now());
    while last < goal {
        assert!(since.elapsed() < PATIENCE, "{what}: it stays at {last} of {goal}");
        thread::sleep(Duration::from_millis(5));
        let now = number();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}
