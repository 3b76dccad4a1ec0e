//! Places that tenants share. Nobody has more than a part of them, however slow the work is that they hold them
//! for: whoever comes next waits for the others of its own, and not for everybody.
//!
//! They are given in the order in which they are asked for, among one's own first and among all then.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Fewer parts than this are not looked through for those that nobody uses.
const FEW: usize = 64;

/// Places for all, of which each key has no more than a part.
#[derive(Debug)]
pub struct Places<K> {
    all: Arc<Semaphore>,
    /// The most that one key has.
    part: usize,
    /// Held for as long as it takes to find one.
    parts: Mutex<Parts<K>>,
}

#[derive(Debug)]
struct Parts<K> {
    /// Of those who hold places or wait for one, and some that did not long ago.
    of: HashMap<K, Arc<Semaphore>>,
    /// With so many it is looked which are in use.
    look_at: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _of_one: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// So many for all, and at the most `part` for one; at least one each.
    #[must_use]
    pub fn new(all: usize, part: usize) -> Self {
        let parts = Mutex::new(Parts { of: HashMap::new(), look_at: FEW });
        Self { all: Arc::new(Semaphore::new(all.max(1))), part: part.max(1), parts }
    }

    /// Waits for a place.
    pub async fn take(&self, key: &K) -> Place {
        // They are never closed. One that waits among its own takes no turn of others.
        let of_one = self.part_of(key).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Place { _of_one: of_one, _of_all: of_all }
    }

    /// A place that is free and that nobody waits for.
    #[must_use]
    pub fn try_take(&self, key: &K) -> Option<Place> {
        let of_one = self.part_of(key).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _of_one: Some(of_one), _of_all: Some(of_all) })
    }

    fn part_of(&self, key: &K) -> Arc<Semaphore> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = parts.of.get(key) {
            return Arc::clone(known);
        }
        if parts.of.len() >= parts.look_at {
            // Whoever holds one of its places, or waits for one, holds it too.
            parts.of.retain(|_, part| Arc::strong_count(part) > 1);
            parts.look_at = parts.of.len().saturating_mul(2).max(FEW);
        }
        let part = Arc::new(Semaphore::new(self.part));
        parts.of.insert(key.clone(), Arc::clone(&part));
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_their_part_nor_all_more_than_there_are() {
        let places = Places::new(3, 2);
        let held: Vec<_> = (0..3).map(|_| places.try_take(&"a")).collect();
        assert_eq!(held.iter().flatten().count(), 2);
        let last = places.try_take(&"b");
        assert!(last.is_some() && places.try_take(&"b").is_none());
        drop(held);
        assert!(places.try_take(&"b").is_some() && places.try_take(&"b").is_some());
    }

    #[test]
    fn parts_that_nobody_uses_are_forgotten_and_no_others() {
        let places = Places::new(1_000, 1);
        let held = places.try_take(&0);
        (1..10_000).for_each(|key| drop(places.try_take(&key)));
        assert!(places.parts.lock().unwrap().of.len() <= 2 * FEW);
        assert!(held.is_some() && places.try_take(&0).is_none());
    }
}
