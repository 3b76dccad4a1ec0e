//! A semaphore that tenants share fairly: each key has a limited share of the permits, however long it holds
//! them. A key that has used up its share waits for its own permits, and keeps nobody else waiting.
//!
//! Permits are given in the order of requests, first within a key and then among all keys.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Below this number of keys, unused ones are not searched for.
const FEW_KEYS: usize = 64;

/// Permits for all keys, of which each key may hold no more than its share.
#[derive(Debug)]
pub struct FairSemaphore<K> {
    all: Arc<Semaphore>,
    /// The most permits that one key may hold.
    share: usize,
    /// The lock is held only for a look-up.
    by_key: Mutex<KeyedSemaphores<K>>,
}

#[derive(Debug)]
struct KeyedSemaphores<K> {
    /// The keys that hold or wait for permits, and some that did recently.
    semaphores: HashMap<K, Arc<Semaphore>>,
    /// At this number of keys the unused ones are removed.
    cleanup_at: usize,
}

/// A permit. Dropping it gives it back.
#[derive(Debug)]
pub struct FairPermit {
    _of_key: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl<K: Eq + Hash + Clone> FairSemaphore<K> {
    /// `all` permits, of which one key holds at most `share`; both are at least one.
    #[must_use]
    pub fn new(all: usize, share: usize) -> Self {
        let by_key = Mutex::new(KeyedSemaphores { semaphores: HashMap::new(), cleanup_at: FEW_KEYS });
        Self { all: Arc::new(Semaphore::new(all.max(1))), share: share.max(1), by_key }
    }

    /// Waits for a permit.
    pub async fn acquire(&self, key: &K) -> FairPermit {
        // The semaphores are never closed. A request that waits within its key is not yet in the queue of all.
        let of_key = self.semaphore_of(key).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        FairPermit { _of_key: of_key, _of_all: of_all }
    }

    /// A permit, if one is free and nobody waits for it.
    #[must_use]
    pub fn try_acquire(&self, key: &K) -> Option<FairPermit> {
        let of_key = self.semaphore_of(key).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(FairPermit { _of_key: Some(of_key), _of_all: Some(of_all) })
    }

    fn semaphore_of(&self, key: &K) -> Arc<Semaphore> {
        let mut by_key = self.by_key.lock();
        if let Some(semaphore) = by_key.semaphores.get(key) {
            return Arc::clone(semaphore);
        }
        if by_key.semaphores.len() >= by_key.cleanup_at {
            // Whoever holds or waits for a permit also holds a reference.
            by_key.semaphores.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            by_key.cleanup_at = by_key.semaphores.len().saturating_mul(2).max(FEW_KEYS);
        }
        let semaphore = Arc::new(Semaphore::new(self.share));
        by_key.semaphores.insert(key.clone(), Arc::clone(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_holds_more_than_its_share_and_all_keys_no_more_than_there_are() {
        let permits = FairSemaphore::new(3, 2);
        let held: Vec<_> = (0..3).map(|_| permits.try_acquire(&"a")).collect();
        assert_eq!(held.iter().flatten().count(), 2);
        let last = permits.try_acquire(&"b");
        assert!(last.is_some() && permits.try_acquire(&"b").is_none());
        drop(held);
        assert!(permits.try_acquire(&"b").is_some() && permits.try_acquire(&"b").is_some());
    }

    #[test]
    fn only_unused_keys_are_removed() {
        let permits = FairSemaphore::new(1_000, 1);
        let held = permits.try_acquire(&0);
        (1..10_000).for_each(|key| drop(permits.try_acquire(&key)));
        assert!(permits.by_key.lock().semaphores.len() <= 2 * FEW_KEYS);
        assert!(held.is_some() && permits.try_acquire(&0).is_none());
    }
}
