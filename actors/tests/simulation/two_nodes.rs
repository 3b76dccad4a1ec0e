//! Two nodes on one log: each has actors of its own, follows the log late, and crashes by itself. A client does every thing
//! on whichever node is free, so that it reads on one node what was acknowledged on the other, and repeats there what the
//! other did not answer.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use tokio::{
    task::{LocalSet, spawn_local},
    time::{sleep, timeout},
};

use crate::{
    client, rival,
    world::{CLIENTS, CRASHES, LIFE_MILLIS, PATIENCE, World, digest, paused_runtime},
};

/// A node hears what the other appended later than this only when it asks.
const FOLLOWS_WITHIN_MILLIS: u64 = 40;

/// How long a node waits before it serves another client, at most.
const PAUSE_MILLIS: u64 = 4;

/// The clients that no node serves at the moment.
#[derive(Clone, Default)]
struct FreeClients(Rc<RefCell<ClientPool>>);

#[derive(Default)]
struct ClientPool {
    free: VecDeque<usize>,
    served: usize,
}

/// A client that a node serves; it is free again when the node crashes.
struct ServedClient {
    number: usize,
    pool: FreeClients,
    is_done: bool,
}

impl FreeClients {
    fn take(&self) -> Option<ServedClient> {
        let mut pool = self.0.borrow_mut();
        let number = pool.free.pop_front()?;
        pool.served += 1;
        Some(ServedClient { number, pool: self.clone(), is_done: false })
    }

    fn are_done(&self) -> bool {
        let pool = self.0.borrow();
        pool.free.is_empty() && pool.served == 0
    }
}

impl Drop for ServedClient {
    fn drop(&mut self) {
        let mut pool = self.pool.0.borrow_mut();
        pool.served -= 1;
        if !self.is_done {
            pool.free.push_back(self.number);
        }
    }
}

/// Runs a seed. Returns a digest of the log that it leaves.
pub(crate) fn run(seed: u64) -> u64 {
    let world = Rc::new(World::new(seed, 2));
    let clients = FreeClients::default();
    clients.0.borrow_mut().free.extend(0..CLIENTS);
    let runtime = paused_runtime();
    runtime.block_on(async { tokio::join!(node(&world, &clients, 0), node(&world, &clients, 1)) });
    world.calm_down();
    LocalSet::new().block_on(&runtime, world.read_back());
    world.check();
    digest(&world.witness.borrow())
}

/// A node lives, crashes and starts again, until every client is done.
async fn node(world: &Rc<World>, clients: &FreeClients, number: usize) {
    for crash in 0..=CRASHES {
        let is_last = crash == CRASHES;
        if is_last {
            world.stores.get(number).expect("a node").calm_down();
        }
        let actors = LocalSet::new();
        let span = if is_last { PATIENCE } else { world.dice.millis_below(LIFE_MILLIS) };
        let ended = actors.run_until(timeout(span, live(world, clients, number))).await.is_ok();
        // The crash: every actor, request and answer underway is gone.
        drop(actors);
        world.check();
        assert!(ended || !is_last, "the clients never came to an end");
        if ended {
            return;
        }
    }
}

async fn live(world: &Rc<World>, clients: &FreeClients, number: usize) {
    let directory = world.directory(number);
    spawn_local(rival::write(Rc::clone(world)));
    spawn_local(follow(Rc::clone(world), number));
    let serving = (0..CLIENTS).map(|_| {
        let (world, clients, directory) = (Rc::clone(world), clients.clone(), directory.clone());
        spawn_local(async move {
            while !clients.are_done() {
                if let Some(mut client) = clients.take() {
                    client.is_done = !client::live_on(&world, &directory, client.number).await;
                }
                // It is free now, for either node.
                sleep(Duration::from_millis(1) + world.dice.millis_below(PAUSE_MILLIS)).await;
            }
        })
    });
    for served in serving.collect::<Vec<_>>() {
        served.await.expect("a client is served");
    }
}

async fn follow(world: Rc<World>, number: usize) {
    loop {
        sleep(world.dice.millis_below(FOLLOWS_WITHIN_MILLIS)).await;
        world.stores.get(number).expect("a node").follow();
    }
}
