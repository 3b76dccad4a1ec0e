//! Durable appends a second in a PostgreSQL on this machine, with the time that each takes.
//!
//! The server is the test's own, with fsync, in the directory of temporary files.

use std::{sync::Arc, thread, time::Duration};

use amoiq_events::{
    Ambient,
    store::postgres::{PostgresOptions, PostgresStore},
};
use amoiq_testkit::PostgresServer;
use tokio::runtime::Runtime;

use crate::{
    load::{Run, Until, run},
    rate, row,
};

const APPENDERS: [u32; 5] = [1, 16, 64, 512, 1_024];

const FOR: Until = Until { time: Duration::from_secs(4), events: 10_000_000 };

pub(crate) fn measure(runtime: &Runtime) {
    let server = PostgresServer::start();
    for nodes in [1, 3] {
        for appenders in APPENDERS {
            let options =
                PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(&server.address()) };
            let stores: Vec<_> = (0..nodes).map(|_| open(&options)).collect();
            let runs: Vec<Run> = thread::scope(|scope| {
                let start = |(node, store)| {
                    let each = appenders.div_ceil(nodes);
                    scope.spawn(move || run(runtime, store, &format!("node-{node}"), each, FOR))
                };
                let running: Vec<_> = stores.iter().enumerate().map(start).collect();
                running.into_iter().map(|run| run.join().expect("a node ends well")).collect()
            });
            report(&runs, nodes, appenders);
        }
    }
}

fn open(options: &PostgresOptions) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(options, &Ambient::system()).expect("the store opens"))
}

fn report(runs: &[Run], nodes: u32, appenders: u32) {
    let events = runs.iter().map(|run| run.events).sum();
    let time = runs.iter().map(|run| run.time).max().unwrap_or_default();
    row(&format!("appends, {nodes} nodes, {appenders} appenders"), &rate(events, time));
    let mut latencies_us: Vec<u32> = runs.iter().flat_map(|run| run.latencies_us.iter().copied()).collect();
    latencies_us.sort_unstable();
    for (name, of_hundred) in [("p50", 50), ("p99", 99)] {
        let latency = latencies_us.get(latencies_us.len() * of_hundred / 100).copied().unwrap_or_default();
        row(&format!("  append {name}"), &format!("{}.{:02} ms", latency / 1_000, latency % 1_000 / 10));
    }
}
