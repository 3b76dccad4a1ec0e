//! A seeded simulation of the actors over a store that fails: on one thread, with a clock that jumps,
//! so that a seed always gives the same run.
//!
//! Clients send, repeat, close and read; another node writes to the same streams; the store loses,
//! delays and answers wrongly; nodes crash and start again from the log. Every answer is judged when
//! it comes, the whole log after each crash and at the end.
//!
//! `AMOIQ_SIM_SEED=n` runs one seed, `AMOIQ_SIM_SEEDS=n` sets how many are run.
//!
//! | module | holds |
//! |---|---|
//! | [`dice`] | chance that a seed repeats |
//! | [`faulty`] | the store that fails |
//! | [`world`] | one run: nodes that live and crash, and how they are judged |
//! | [`two_nodes`] | the same with two nodes on one log, which crash apart |
//! | [`client`], [`rival`] | users of sessions: clients through the directory, and another node that bypasses it |
//! | [`witness`] | what the log says, folded without the code that is judged |
//! | [`judge`] | whether an answer fits the log |
//! | [`invariants`] | what must hold of the log and of everything that was acknowledged |
//! | [`presence`] | who is online, on nodes that die and are taken for dead |
//! | [`lanes`] | webhook delivery, over receivers that do anything |
//! | [`inbox`] | the projection, run live and built again |

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says why and stops"
)]

use std::{
    panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

mod client;
mod inbox;
mod invariants;
mod judge;
mod lanes;
mod presence;
mod rival;
mod two_nodes;
mod witness;
mod world;

/// How many seeds are run unless the environment says otherwise.
const SEEDS: u64 = 1_000;

/// The same for two nodes.
const SEEDS_OF_TWO_NODES: u64 = 20;

/// Each of so many seeds runs the projection on its thread and database beside the simulation.
const LIVE_INBOX_EVERY: u64 = 20;

#[test]
fn the_invariants_hold_whatever_fails() {
    for_every_seed(|seed| {
        world::run(seed, seed % LIVE_INBOX_EVERY == 0);
    });
}

#[test]
fn the_invariants_hold_on_two_nodes_that_share_a_log() {
    for_seeds(SEEDS_OF_TWO_NODES, |seed| {
        two_nodes::run(seed);
    });
}

#[test]
fn every_node_lists_whoever_is_connected_whatever_becomes_of_the_others() {
    for_seeds(SEEDS_OF_TWO_NODES, presence::run);
}

#[test]
fn every_message_arrives_in_order_whatever_receivers_do() {
    for_every_seed(|seed| {
        lanes::run(seed, 1);
    });
}

#[test]
fn every_message_arrives_in_order_while_nodes_take_lanes_from_each_other() {
    for_every_seed(|seed| {
        lanes::run(seed, 2);
    });
}

fn for_every_seed(run: impl Fn(u64) + Sync) {
    for_seeds(SEEDS, run);
}

/// Runs this many seeds, unless the environment says otherwise.
fn for_seeds(seeds: u64, run: impl Fn(u64) + Sync) {
    if let Some(seed) = from_environment("AMOIQ_SIM_SEED") {
        return run(seed);
    }
    let seeds = from_environment("AMOIQ_SIM_SEEDS").unwrap_or(seeds);
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let work = || {
            while let Some(seed) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|seed| *seed < seeds) {
                tell_on_failure(seed, || run(seed));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended.into_iter().for_each(|end| end.unwrap_or_else(|failure| panic::resume_unwind(failure)));
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..10 {
        let digests = (world::run(seed, false), world::run(seed, false));
        assert_eq!(digests.0, digests.1, "AMOIQ_SIM_SEED={seed}");
        assert_eq!(two_nodes::run(seed), two_nodes::run(seed), "AMOIQ_SIM_SEED={seed}");
        // Which of several nodes with lanes hears of a change first is decided by the runtime, by chance.
        assert_eq!(lanes::run(seed, 1), lanes::run(seed, 1), "AMOIQ_SIM_SEED={seed}");
    }
}

#[test]
fn the_projection_beside_the_run_does_not_change_it() {
    assert_eq!(world::run(1, false), world::run(1, true));
}

#[test]
fn different_seeds_give_different_runs() {
    assert_ne!(world::run(1, false), world::run(2, false));
    assert_ne!(lanes::run(1, 1), lanes::run(2, 1));
}

fn tell_on_failure<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    panic::catch_unwind(panic::AssertUnwindSafe(run)).unwrap_or_else(|failure| {
        eprintln!("the simulation failed: AMOIQ_SIM_SEED={seed} runs it again");
        panic::resume_unwind(failure)
    })
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}
