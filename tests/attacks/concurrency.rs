//! Many clients at once, with a bound on how many start at the same time.

use std::{future::Future, sync::Arc};

use tokio::{sync::Semaphore, task::JoinSet};

/// Runs `count` futures, at most `at_once` of them at a time, until the first failure. Returns their results in the order
/// in which they ended.
pub async fn run_many<T, F>(count: usize, at_once: usize, one: impl Fn(usize) -> F) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let (room, mut running, mut done) = (Arc::new(Semaphore::new(at_once)), JoinSet::new(), Vec::new());
    for number in 0..count {
        let (place, work) = (Arc::clone(&room).acquire_owned().await?, one(number));
        running.spawn(async move {
            let result = work.await;
            drop(place);
            result
        });
    }
    while let Some(ended) = running.join_next().await {
        done.push(ended??);
    }
    Ok(done)
}

/// The loopback address of a client, because the ports of one address are soon used up.
pub fn source_address(number: usize) -> u8 {
    u8::try_from(number % 8 + 1).unwrap_or(1)
}
